"""A receiver and the questions of a forwarder's process, in the test's loop, around one spool."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.service.forwarding import Office
from tests.service.receiving import Peer, Running, receiving

from emailrelay.config import ReceiverSettings
from emailrelay.store.chooser import recipient_sockets
from emailrelay_forwarder.recipient_answers import RecipientAnswers


def proxy_settings(spool: Path, **values: object) -> ReceiverSettings:
    given = {"domain": "relay.test", "spool_dir": spool, "ack": "delivered", **values}
    return ReceiverSettings.model_validate({"verify_recipients": True, **given})


@asynccontextmanager
async def answering(spool: Path, office: Office) -> AsyncGenerator[None]:
    """Answer questions as a forwarder process does."""
    ready = asyncio.Event()
    listen = recipient_sockets(spool).listening
    answers = RecipientAnswers(
        listen, lambda: office.forwarding.recipient_check, office.told.append
    )
    work = asyncio.create_task(answers.run(ready.set))
    try:
        await ready.wait()
        yield
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await office.forwarding.close()


@dataclass
class Client:
    """A client of the receiver in a mail transaction."""

    peer: Peer
    running: Running

    async def mail(self, sender: str = "s@x.test", parameters: str = "") -> None:
        await self.peer.ask("RSET")
        assert (await self.peer.ask(f"MAIL FROM:<{sender}>{parameters}")).startswith("250")

    async def rcpt(self, recipient: str = "r@y.test") -> str:
        return await self.peer.ask(f"RCPT TO:<{recipient}>")


@asynccontextmanager
async def client_of(running: Running) -> AsyncGenerator[Client]:
    async with running.client() as peer:
        await peer.reply()
        await peer.ask("EHLO c")
        client = Client(peer, running)
        await client.mail()
        yield client


@asynccontextmanager
async def proxied(spool: Path, office: Office, **values: object) -> AsyncGenerator[Client]:
    """Give a client of a receiver that asks a forwarder to ``office``'s servers."""
    async with (
        answering(spool, office),
        receiving(proxy_settings(spool, **values)) as running,
        client_of(running) as client,
    ):
        yield client
