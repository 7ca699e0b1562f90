"""A real SMTP server with TLS and AUTH: it checks credentials, and records text in clear.

``clear`` has every octet that came before TLS; ``lines`` every command line, also those under TLS.
"""

import asyncio
import contextlib
import hmac
import ssl
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Self

CHALLENGE = b"<1896.697170952@peer.test>"


@dataclass(slots=True)
class SecurePeer:
    """An ``async with`` block: inside it the server listens on ``port``."""

    context: ssl.SSLContext | None = None
    implicit: bool = False
    starttls: bytes = b"220 2.0.0 go ahead\r\n"
    """The answer to STARTTLS; TLS begins if it starts with 220."""
    stall: bool = False
    """Say 220 and then nothing: the handshake never ends."""
    offers: tuple[str, ...] = ("8BITMIME",)
    offers_in_clear: tuple[str, ...] | None = None
    """The EHLO reply before TLS; None: the same, with STARTTLS if there is a context."""
    passwords: dict[str, str] = field(default_factory=dict[str, str])
    tokens: set[str] = field(default_factory=set[str])
    refusal: str = "535 5.7.8 not you"
    auth_replies: dict[str, str] = field(default_factory=dict[str, str])
    """By mechanism: the reply in place of a check."""
    echoes: bool = False
    """Repeat the client's words in the refusal, as bad servers do."""
    rude: bool = False
    """End the connection without TLS's good-bye."""
    room: int = 1 << 16
    """The most octets of a content."""
    port: int = 0
    clear: bytearray = field(default_factory=bytearray)
    lines: list[str] = field(default_factory=list[str])
    contents: list[bytes] = field(default_factory=list[bytes])
    signed_in: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """User and mechanism of each success."""
    versions: list[str] = field(default_factory=list[str])
    names: list[str | None] = field(default_factory=list[str | None])
    """The requested name (SNI)."""
    client_certificates: list[bytes | None] = field(default_factory=list[bytes | None])
    connections: int = 0
    _server: asyncio.Server | None = None
    _sessions: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _ending: bool = False

    async def __aenter__(self) -> Self:
        if self.context is not None:
            self.context.sni_callback = self._note_name
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=self.room
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        if self._server is not None:
            self._server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def verbs(self) -> list[str]:
        return [line.partition(" ")[0].upper() for line in self.lines]

    def _note_name(self, _ssl: object, name: str | None, _context: object) -> None:
        self.names.append(name)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        self.connections += 1
        try:
            # The client may go at any time, and a handshake may fail: the tests are about that.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _Session(self, reader, writer).run()
        except asyncio.CancelledError:
            if not self._ending:
                raise
        finally:
            if self.rude:
                writer.transport.abort()
            writer.close()
            self._sessions.discard(task)


class _Session:
    def __init__(
        self, peer: SecurePeer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._encrypted = False

    async def run(self) -> None:
        if self._peer.implicit:
            await self._encrypt()
        await self._say("220 peer.test ESMTP")
        while line := await self._line():
            self._peer.lines.append(line)
            if not await self._command(line):
                return

    async def _command(self, line: str) -> bool:
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "EHLO":
                lines = ["peer.test", *self._offers()]
                text = [f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]
                await self._say("\r\n".join(text))
            case "STARTTLS":
                self._writer.write(self._peer.starttls)
                await self._writer.drain()
                if self._peer.stall:
                    await asyncio.Event().wait()
                if self._peer.starttls.startswith(b"220"):
                    await self._encrypt()
            case "AUTH":
                await self._auth(*rest.split())
            case "DATA":
                await self._say("354 go ahead")
                self._peer.contents.append(await self._reader.readuntil(b"\r\n.\r\n"))
                await self._say("250 2.0.0 taken")
            case "QUIT":
                await self._say("221 2.0.0 bye")
                return False
            case _:
                await self._say("250 2.0.0 ok")
        return True

    def _offers(self) -> tuple[str, ...]:
        peer = self._peer
        if self._encrypted:
            return peer.offers
        if peer.offers_in_clear is not None:
            return peer.offers_in_clear
        return (*peer.offers, "STARTTLS") if peer.context else peer.offers

    async def _encrypt(self) -> None:
        assert self._peer.context is not None
        await self._writer.start_tls(self._peer.context)
        self._encrypted = True
        found: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        self._peer.versions.append(found.version() or "")
        self._peer.client_certificates.append(found.getpeercert(binary_form=True))

    async def _auth(self, mechanism: str, initial: str | None = None) -> None:
        if mechanism in self._peer.auth_replies:
            await self._say(self._peer.auth_replies[mechanism])
            return
        user = await self._user(mechanism, initial)
        if user is not None:
            self._peer.signed_in.append((user, mechanism))
            await self._say("235 2.7.0 welcome")
        else:
            said = f" {self._peer.lines[-1]}" if self._peer.echoes else ""
            await self._say(self._peer.refusal + said)

    async def _user(self, mechanism: str, initial: str | None) -> str | None:
        match mechanism:
            case "PLAIN":
                _, user, password = (await self._answer(initial)).decode().split("\0")
                return user if self._peer.passwords.get(user) == password else None
            case "LOGIN":
                user = (await self._ask(b"Username:")).decode()
                password = (await self._ask(b"Password:")).decode()
                return user if self._peer.passwords.get(user) == password else None
            case "CRAM-MD5":
                user, _, digest = (await self._ask(CHALLENGE)).decode().rpartition(" ")
                secret = self._peer.passwords.get(user, "").encode()
                good = hmac.new(secret, CHALLENGE, "md5").hexdigest()
                return user if digest == good else None
            case _:
                text = (await self._answer(initial)).decode()
                user = text.split("\x01")[0].removeprefix("user=").removeprefix("n,a=").rstrip(",")
                token = text.partition("auth=Bearer ")[2].rstrip("\x01")
                if token in self._peer.tokens:
                    return user
                await self._ask(b'{"status":"401","schemes":"bearer"}')
                return None

    async def _answer(self, initial: str | None) -> bytes:
        return b64decode(initial) if initial is not None else await self._ask(b"")

    async def _ask(self, challenge: bytes) -> bytes:
        await self._say(f"334 {b64encode(challenge).decode()}")
        line = await self._line()
        self._peer.lines.append(line)
        return b64decode(line)

    async def _line(self) -> str:
        line = await self._reader.readline()
        if not self._encrypted:
            self._peer.clear += line
        return line.decode().rstrip("\r\n")

    async def _say(self, text: str) -> None:
        self._writer.write(text.encode() + b"\r\n")
        await self._writer.drain()
