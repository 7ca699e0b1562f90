"""TLS as this server speaks it: our certificate, who must vouch for clients, and nothing old."""

import asyncio
import ssl
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast

from emailrelay.config import DEFAULT_AUTHORITIES
from emailrelay.errors import ConfigError

HANDSHAKE = 30.0
"""Seconds that a client has for the handshake."""

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL"
"""Of TLS 1.2 those with forward secrecy and authenticated encryption, which leaves out CBC (Lucky 13)."""


def server_context(
    certificate: Sequence[Path], authorities: str | None, words: Collection[str] = ()
) -> ssl.SSLContext:
    """Make a context of one PEM file, or of key and chain; ``authorities`` vouch for clients.

    ``words`` are those of ``tls_config``: the versions of TLS.

    Raises:
        ConfigError: a file cannot be used, or the key can be read by others.

    """
    key, chain = certificate[0], certificate[-1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    v12, v13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    context.minimum_version = v13 if "tlsv1.3" in words else v12
    context.maximum_version = v12 if "-tlsv1.2" in words else v13
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    _guard(key)
    try:
        # An empty password keeps OpenSSL from asking for one at the terminal.
        context.load_cert_chain(chain, key, password="")
    except (OSError, ValueError) as error:
        text = f"{key}: no usable key and certificate chain in PEM: {_said(error)}"
        raise ConfigError([text]) from error
    if authorities is not None:
        _load_authorities(context, authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def shake_hands(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    early: bytes,
) -> asyncio.Transport | None:
    """Encrypt a connection that is not being read from; None: it was lost meanwhile.

    ``early`` are octets of the handshake that were read already: a client that encrypts from the first
    octet does not wait until we are ready, and uvloop reads whether it should or not.

    Raises:
        OSError: the handshake failed or took too long.

    """
    loop = asyncio.get_running_loop()
    shaking = asyncio.ensure_future(
        loop.start_tls(
            transport, protocol, context, server_side=True, ssl_handshake_timeout=HANDSHAKE
        )
    )
    try:
        if early:
            # In this step the loop puts its own protocol in place, in the next it makes that ready and
            # begins to read: the early octets must come behind the one and before the other's.
            await asyncio.sleep(0)
            loop.call_soon(_feed, transport, early)
        return await shaking
    finally:
        shaking.cancel()


def _feed(transport: asyncio.Transport, octets: bytes) -> None:
    protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())
    buffer = protocol.get_buffer(len(octets))
    memoryview(buffer)[: len(octets)] = octets
    protocol.buffer_updated(len(octets))


def client_certificate(tls: ssl.SSLObject) -> str:
    """Give the certificate that a client has shown, in PEM, or nothing."""
    found = tls.getpeercert(binary_form=True)
    return ssl.DER_cert_to_PEM_cert(found) if found else ""


def _guard(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise ConfigError([f"{key}: cannot be read: {error.strerror}"]) from error
    if mode & stat.S_IRWXO:
        raise ConfigError([f"{key}: holds a private key and others can reach it: chmod o= {key}"])


def _load_authorities(context: ssl.SSLContext, authorities: str) -> None:
    if authorities == DEFAULT_AUTHORITIES:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        text = f"{authorities}: no usable certificates of authorities in PEM: {_said(error)}"
        raise ConfigError([text]) from error


def _said(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not PEM"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
