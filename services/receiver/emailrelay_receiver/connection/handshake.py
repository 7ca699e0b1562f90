"""The TLS handshake of a server, over a connection that exists already."""

import asyncio
import ssl
from typing import cast

HANDSHAKE = 30.0
"""Seconds that a client has for the handshake."""
_FAREWELL = 5.0
"""Seconds that a client has to end the encryption after us (RFC 8446 section 6.1)."""


async def shake_hands(
    transport: asyncio.Transport,
    protocol: asyncio.BufferedProtocol,
    context: ssl.SSLContext,
    early: bytes,
) -> asyncio.Transport | None:
    """Encrypt a connection whose reading is paused; None: it was lost meanwhile.

    ``early`` are octets of the handshake that were read already: a client that encrypts from the
    first octet does not wait until we are ready, and uvloop starts reading before it can be paused.

    Raises:
        OSError: the handshake failed or took too long.

    """
    loop = asyncio.get_running_loop()
    shaking = asyncio.ensure_future(
        # Any protocol will do; the type stubs name one kind.
        loop.start_tls(
            transport,
            cast("asyncio.Protocol", protocol),
            context,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE,
            ssl_shutdown_timeout=_FAREWELL,
        )
    )
    try:
        if early:
            # In this step the loop installs its own protocol; in the next it prepares that and
            # begins to read. The early octets must follow the first and precede the reading.
            await asyncio.sleep(0)
            loop.call_soon(_feed, transport, early)
        return await shaking
    finally:
        shaking.cancel()


def client_certificate(tls: ssl.SSLObject) -> str:
    """Return the client's certificate as PEM, or "" if it has shown none."""
    found = tls.getpeercert(binary_form=True)
    return ssl.DER_cert_to_PEM_cert(found) if found else ""


def _feed(transport: asyncio.Transport, octets: bytes) -> None:
    protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())
    buffer = protocol.get_buffer(len(octets))
    memoryview(buffer)[: len(octets)] = octets
    protocol.buffer_updated(len(octets))
