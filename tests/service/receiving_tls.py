"""Clients that encrypt their session with the receiver."""

import asyncio
import smtplib
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from tests.fakes.certificates import Certificates
from tests.service.receiving import HANG, Peer, Running

from emailrelay.config import ReceiverSettings

MAIL = b"Subject: x\r\n\r\ntext\r\n"


def settings(files: Certificates, **values: object) -> ReceiverSettings:
    given = {"server_tls_certificate": str(files.server), "domain": "relay.test", **values}
    return ReceiverSettings.model_validate(given)


def client_context(files: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(files.authority))


async def say(running: Running, talk: Callable[[smtplib.SMTP], None]) -> None:
    """Run smtplib in a thread."""

    def run() -> None:
        with smtplib.SMTP("127.0.0.1", running.port, "client.test", timeout=HANG) as client:
            talk(client)

    await asyncio.to_thread(run)


@asynccontextmanager
async def encrypted(
    running: Running, context: ssl.SSLContext, *, at_once: bool = False
) -> AsyncGenerator[Peer]:
    """Send as a raw peer after STARTTLS, or over TLS from the first octet."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1",
        running.port,
        ssl=context if at_once else None,
        server_hostname="127.0.0.1" if at_once else None,
    )
    peer = Peer(reader, writer)
    try:
        if not at_once:
            await peer.reply()
            assert (await peer.ask("STARTTLS")).startswith("220")
            await writer.start_tls(context, server_hostname="127.0.0.1")
            reader._transport = writer.transport  # type: ignore[attr-defined] # asyncio of 3.11 forgets it
        yield peer
    finally:
        writer.transport.abort()
