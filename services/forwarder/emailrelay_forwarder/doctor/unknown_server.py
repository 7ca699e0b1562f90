"""Identifies the kind of server at a port where no mail server sent a greeting."""

import asyncio
import socket
import ssl
from contextlib import suppress
from enum import Enum, auto

from emailrelay_forwarder.session.resolve import SocketAddress
from emailrelay_forwarder.session.session_settings import SessionSettings

PATIENCE = 3.0
"""Seconds for each try."""
_MOST = 512


class ServerKind(Enum):
    """The kind of server, by its first octets."""

    MAIL = auto()
    """A mail server that greets without TLS."""
    MAIL_IN_TLS = auto()
    """A mail server that speaks TLS from the first octet (RFC 8314 section 3.3)."""
    TLS = auto()
    """A server with TLS that sends no greeting."""
    SSH = auto()
    HTTP = auto()
    IMAP = auto()
    POP3 = auto()
    OTHER = auto()
    """Another server that sends text."""
    CLOSES = auto()
    """It ends each connection and sends nothing."""
    SILENT = auto()
    """It accepts connections and never sends anything."""


_BEGINNINGS = (
    (b"SSH-", ServerKind.SSH),  # RFC 4253 section 4.2
    (b"HTTP/", ServerKind.HTTP),  # RFC 9112 section 4
    (b"<", ServerKind.HTTP),  # servers that answer a bad request with a page and no header
    (b"* ", ServerKind.IMAP),  # RFC 9051 section 7.1
    (b"+OK", ServerKind.POP3),  # RFC 1939 section 3
    (b"220", ServerKind.MAIL),
    (b"554", ServerKind.MAIL),
    (b"421", ServerKind.MAIL),
    (b"\x15\x03", ServerKind.TLS),  # an alert, RFC 8446 section 5.1
)


def known_by(octets: bytes) -> ServerKind | None:
    """Recognise a server by its first octets; None: it sent nothing."""
    found = (kind for beginning, kind in _BEGINNINGS if octets.startswith(beginning))
    return next(found, ServerKind.OTHER) if octets else None


async def identify(address: SocketAddress, settings: SessionSettings, name: str) -> ServerKind:
    """Identify the server at ``address``: listen, then try TLS, then send EHLO without TLS.

    ``name`` is the name for TLS (SNI); empty: none. No secret is sent.
    """
    heard, ended = await _heard(address, settings)
    kind = known_by(heard)
    if kind is not None and kind is not ServerKind.TLS:
        return kind
    with suppress(OSError, ValueError, TimeoutError):  # ValueError: the name is invalid
        greeting, _ = await _heard(address, settings, tls=_any_certificate(), name=name)
        return ServerKind.MAIL_IN_TLS if greeting.startswith(b"220") else ServerKind.TLS
    if kind is not None:
        return kind
    if ended:
        return ServerKind.CLOSES
    # The empty line ends a request for a web server, which answers with an error.
    heard, ended = await _heard(address, settings, asking=b"EHLO localhost\r\n\r\n")
    return known_by(heard) or ServerKind.SILENT


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _heard(
    address: SocketAddress,
    settings: SessionSettings,
    *,
    asking: bytes = b"",
    tls: ssl.SSLContext | None = None,
    name: str = "",
) -> tuple[bytes, bool]:
    """Connect, send ``asking``, and return the first octets, and True if the server closed.

    Raises:
        OSError: the handshake fails, with ``tls``. Without ``tls`` nothing is raised.

    """
    try:
        async with asyncio.timeout(PATIENCE):
            sock = await _connected(address, settings)
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=tls, server_hostname=name if tls else None
            )
    except (OSError, TimeoutError):
        if tls is not None:
            raise
        return b"", False
    try:
        writer.write(asking)
        async with asyncio.timeout(PATIENCE):
            heard = await reader.read(_MOST)
            return heard, not heard
    except ConnectionError:
        return b"", True
    except (OSError, TimeoutError):
        return b"", False
    finally:
        writer.transport.abort()


async def _connected(address: SocketAddress, settings: SessionSettings) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        if settings.local_address is not None and address.family != socket.AF_UNIX:
            sock.bind((settings.local_address, 0))
        await asyncio.get_running_loop().sock_connect(sock, address.address)
    except BaseException:  # also if cancelled: the socket must not stay open
        sock.close()
        raise
    return sock
