"""A scripted SMTP server on a real socket: a test sets its reply at each step.

A script maps a step ("greeting", "EHLO", "HELO", "MAIL", "RCPT", "DATA", "CONTENT", "DOT", "RSET",
"QUIT") to what happens there: one act for always, or a list of acts for the first, second … time.
Steps without an act get the reply of a good server. A message counts only after its final dot.
"""

import asyncio
import contextlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeAlias


@dataclass(frozen=True, slots=True)
class Say:
    """Send these octets as they are; ``then_close`` afterwards."""

    octets: bytes
    then_close: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection without a reply; at CONTENT, after ``after`` octets of it."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Hang:
    """Send nothing until the client disconnects."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Let the test decide when to go on: set ``reached``, then wait for ``go``."""

    reached: asyncio.Event
    go: asyncio.Event
    octets: bytes = b"250 2.0.0 ok\r\n"


@dataclass(frozen=True, slots=True)
class Read:
    """At CONTENT: read no faster than ``octets`` every ``seconds``."""

    octets: int
    seconds: float


Act: TypeAlias = str | Say | Close | Hang | Wait | Read
Script: TypeAlias = Mapping[str, Act | Sequence[Act]]


@dataclass(slots=True)
class Message:
    """An accepted message: the envelope's octets, and the content after un-stuffing."""

    sender: bytes
    recipients: list[bytes]
    content: bytes
    parameters: bytes = b""
    connection: int = 0


GOOD = {
    "greeting": "220 peer.test ESMTP",
    "EHLO": "250-peer.test\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 104857600",
    "HELO": "250 peer.test",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go ahead",
    "DOT": "250 2.0.0 taken",
    "RSET": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}


@dataclass(slots=True)
class SmtpPeer:
    """An ``async with`` block: inside it the server listens on ``port`` (or at ``path``).

    ``recipients`` gives the reply for single recipients, by address; ``commands`` records every
    received line, with the number of its connection in front.
    """

    script: Script = field(default_factory=dict[str, Act | Sequence[Act]])
    recipients: Mapping[bytes, str] = field(default_factory=dict[bytes, str])
    path: Path | None = None
    keep_content: bool = True
    buffer: int = 1 << 20
    """Octets that are taken from the client before the script reads them, besides the kernel's."""
    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    contents: int = 0
    open: int = 0
    most_open: int = 0
    commands: list[str] = field(default_factory=list[str])
    messages: list[Message] = field(default_factory=list[Message])
    _times: dict[str, int] = field(default_factory=dict[str, int])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _ending: bool = False
    _sessions: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    async def __aenter__(self) -> Self:
        if self.path is not None:
            self._server = await asyncio.start_unix_server(
                self._serve, self.path, limit=self.buffer
            )
        else:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            # With a named protocol, asyncio disables Nagle's algorithm.
            listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self.host, self.port))
            if self.buffer < 1 << 20:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
            self._server = await asyncio.start_server(
                self._serve, sock=listening, limit=self.buffer
            )
            self.port = listening.getsockname()[1]
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
        return str(self.path) if self.path else f"{self.host}:{self.port}"

    def lines(self, verb: str) -> list[str]:
        """Give the commands with this verb, without the number of the connection."""
        return [
            text for _, _, text in (c.partition(" ") for c in self.commands) if text[:4] == verb
        ]

    async def until(
        self,
        *,
        messages: int = 0,
        connections: int = 0,
        contents: int = 0,
        command: str = "",
        closed: bool = False,
        left: int | None = None,
    ) -> None:
        """Wait for this many of each, for a command, or for the end of all connections but some.

        A content counts when its final dot has come, a message when it has been accepted.
        """
        async with asyncio.timeout(60):
            while (
                len(self.messages) < messages
                or self.connections < connections
                or self.contents < contents
                or (command and not self.lines(command))
                or (closed and self.open > 0)
                or (left is not None and self.open > left)
            ):
                await self._changed.wait()
                self._changed.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self._changed.set()
        session = _Session(self, reader, writer, self.connections)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, _Over):
                await session.run()
        except asyncio.CancelledError:
            if not self._ending:
                raise
        finally:
            writer.close()
            self.open -= 1
            self._sessions.discard(task)
            self._changed.set()

    def act(self, step: str) -> Act:
        times = self._times[step] = self._times.get(step, 0) + 1
        acts = self.script.get(step, GOOD.get(step, "250 2.0.0 ok"))
        if isinstance(acts, Sequence) and not isinstance(acts, str):
            return acts[times - 1] if times <= len(acts) else GOOD.get(step, "250 2.0.0 ok")
        return acts

    def add(self, message: Message) -> None:
        self.messages.append(message)
        self.ring()

    def ring(self) -> None:
        self._changed.set()


class _Over(Exception):
    """The script ends the session."""


class _Session:
    def __init__(
        self,
        peer: SmtpPeer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
    ) -> None:
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._number = number
        self._sender = b""
        self._parameters = b""
        self._recipients: list[bytes] = []
        self._begun = False
        """Whether MAIL was accepted."""

    async def run(self) -> None:
        await self._perform("greeting")
        while line := await self._reader.readline():
            self._peer.commands.append(f"{self._number} {line.decode('utf-8', 'replace').strip()}")
            self._peer.ring()
            await self._command(line.rstrip(b"\r\n"))

    async def _command(self, line: bytes) -> None:
        verb = line[:4].decode("ascii", "replace").upper()
        match verb:
            case "MAIL":
                self._sender, self._parameters = _path(line)
                self._recipients = []
                self._begun = 200 <= await self._perform(verb) <= 299
            case "RCPT" if self._begun or "RCPT" in self._peer.script:
                await self._recipient(_path(line)[0])
            case "DATA" if self._recipients or "DATA" in self._peer.script:
                if await self._perform(verb) == 354:
                    await self._content()
            case "QUIT":
                await self._perform(verb)
                raise _Over
            case "RCPT" | "DATA":
                await self._say(b"503 5.5.1 nothing to do that for\r\n")
            case _:
                await self._perform(verb)

    async def _recipient(self, recipient: bytes) -> None:
        special = self._peer.recipients.get(recipient)
        code = await self._do(special) if special else await self._perform("RCPT")
        if 200 <= code <= 299:
            self._recipients.append(recipient)

    async def _content(self) -> None:
        act = self._peer.act("CONTENT") if "CONTENT" in self._peer.script else None
        if isinstance(act, Close):
            await self._reader.readexactly(act.after)
            raise _Over
        if act is not None and not isinstance(act, Read):
            await self._do(act)
        content = bytearray()
        while True:
            if isinstance(act, Read):
                await asyncio.sleep(act.seconds)
                line = await self._reader.read(act.octets)
                content += line
                if content.endswith(b"\r\n.\r\n"):
                    break
                continue
            line = await self._reader.readuntil(b"\r\n")
            if line == b".\r\n":
                break
            content += (line.removeprefix(b".")) if self._peer.keep_content else b""
        self._peer.contents += 1
        self._peer.ring()
        code = await self._perform("DOT")
        if 200 <= code <= 299:
            self._peer.add(
                Message(
                    self._sender,
                    self._recipients,
                    bytes(content),
                    self._parameters,
                    self._number,
                )
            )

    async def _perform(self, step: str) -> int:
        return await self._do(self._peer.act(step))

    async def _do(self, act: Act) -> int:
        match act:
            case str():
                return await self._say(act.encode() + b"\r\n")
            case Say(octets, then_close):
                code = await self._say(octets)
                if then_close:
                    raise _Over
                return code
            case Close():
                raise _Over
            case Hang():
                while await self._reader.read(65536):
                    pass
                raise _Over
            case Wait(reached, go, octets):
                reached.set()
                await go.wait()
                return await self._say(octets)
            case Read():
                raise ValueError("Read has a meaning at CONTENT only")

    async def _say(self, octets: bytes) -> int:
        self._writer.write(octets)
        await self._writer.drain()
        return int(octets[:3]) if octets[:3].isdigit() else 0


def _path(line: bytes) -> tuple[bytes, bytes]:
    """Split ``MAIL FROM:<path> parameters``; the path may hold quoted angle brackets."""
    _, _, rest = line.partition(b"<")
    path, _, parameters = rest.rpartition(b">")
    return path, parameters.strip()
