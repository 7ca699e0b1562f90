"""A session with a server: one method for each step of the SMTP dialogue (RFC 5321)."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from emailrelay.reply import Reply
from emailrelay_forwarder.dot_stuff import DotStuffer
from emailrelay_forwarder.resolve import SocketAddress, resolve
from emailrelay_forwarder.route import Route
from emailrelay_forwarder.trouble import SessionTrouble, Step, garbled, unreachable
from emailrelay_forwarder.wire import Answer, Wire, extensions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How sessions are opened. Times in seconds, each for one step without any progress."""

    connect: float = 40.0
    greeting: float = 20.0
    reply: float = 300.0
    verdict: float = 600.0
    """For the reply to the final dot: a shorter wait makes duplicates (RFC 5321 4.5.3.2.6)."""
    domain: str | None = None
    """Our name for EHLO; None: the host's, or the address literal of the connection's end."""
    local_address: str | None = None


async def open_session(route: Route, settings: SessionSettings) -> "Session":
    """Connect, wait for the greeting and say EHLO; each address of the route in turn until one serves.

    Raises:
        SessionTrouble: that of the last address.

    """
    addresses = await resolve(route, limit=settings.connect)
    for address in addresses[:-1]:
        with contextlib.suppress(SessionTrouble):
            return await _open(address, settings)
    return await _open(addresses[-1], settings)


async def _open(address: SocketAddress, settings: SessionSettings) -> "Session":
    wire = await _connect(address, settings)
    session = Session(wire, str(address), settings)
    try:
        await session.introduce()
    except BaseException:
        session.abort()
        raise
    return session


async def _connect(address: SocketAddress, settings: SessionSettings) -> Wire:
    loop = asyncio.get_running_loop()
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:
        raise unreachable(f"{address}: {error.strerror or error}") from error
    try:
        sock.settimeout(0)
        if settings.local_address is not None and address.family != socket.AF_UNIX:
            sock.bind((settings.local_address, 0))
        async with asyncio.timeout(settings.connect):
            await loop.sock_connect(sock, address.address)
            if address.family == socket.AF_UNIX:
                _, wire = await loop.create_unix_connection(Wire, sock=sock)
            else:
                _, wire = await loop.create_connection(Wire, sock=sock)
    except TimeoutError as error:
        sock.close()
        raise unreachable(f"{address} does not answer within {settings.connect:g} s") from error
    except OSError as error:
        sock.close()
        raise unreachable(f"{address}: {error.strerror or error}") from error
    except BaseException:
        sock.close()
        raise
    return wire


class Session:
    """An open session. Whoever has it aborts it when any of its methods did not return."""

    __slots__ = (
        "_settings",
        "_wire",
        "extensions",
        "idle_since",
        "messages",
        "peer",
        "unfinished",
        "used",
    )

    def __init__(self, wire: Wire, peer: str, settings: SessionSettings) -> None:
        self._wire = wire
        self._settings = settings
        self.peer = peer
        """The numeric address of the server."""
        self.extensions: Mapping[str, str] = {}
        """EHLO keywords in lower case, with their parameters."""
        self.messages = 0
        """How often a content was accepted."""
        self.unfinished = False
        """Whether a transaction was begun that needs RSET before the next."""
        self.used = False
        """Whether an earlier message, or part of this one, was answered for here."""
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether another command can be sent, as far as one can know without sending it."""
        return self._wire.quiet

    @property
    def largest(self) -> int | None:
        """The octets of the largest message the server takes, if it says so (RFC 1870)."""
        limit = self.extensions.get("size", "").strip()
        return int(limit) or None if limit.isascii() and limit.isdigit() else None

    async def introduce(self) -> None:
        """Take the greeting and say EHLO, or HELO to a server that does not know EHLO (4.1.1.1)."""
        greeting = await self._wire.greeting(self._settings.greeting)
        _expect(Step.GREETING, greeting, 220)
        name = self._name().encode("ascii", "replace")
        answer = await self._command(Step.EHLO, b"EHLO " + name)
        if answer.code in {500, 502}:
            answer = await self._command(Step.EHLO, b"HELO " + name)
            _expect(Step.EHLO, answer, 250)
            return
        _expect(Step.EHLO, answer, 250)
        self.extensions = extensions_of(answer)

    async def mail(self, sender: bytes, parameters: bytes) -> Reply:
        """Begin a transaction; ``parameters`` begin with a blank if there are any."""
        if self.unfinished:
            _expect(Step.RSET, await self._command(Step.RSET, b"RSET"), 250)
        self.unfinished = True
        return await self._reply(Step.MAIL, b"MAIL FROM:<" + sender + b">" + parameters)

    async def rcpt(self, recipient: bytes) -> Reply:
        """Name a recipient."""
        return await self._reply(Step.RCPT, b"RCPT TO:<" + recipient + b">")

    async def data(self) -> Reply:
        """Ask to send the content: 354 means go ahead, else it is a refusal."""
        answer = await self._command(Step.DATA, b"DATA")
        return Reply.of(*answer) if answer.code == 354 else _refusal(Step.DATA, answer)

    async def content(self, chunks: AsyncIterator[bytes], before_dot: Callable[[], None]) -> Reply:
        """Send the content and return the verdict on it.

        At most a few chunks are in memory at any time.

        Args:
            chunks: the content, in any chunks, with any line ends.
            before_dot: called when only the last octets with the final dot are left to be sent.

        """
        tail = await self._stream(chunks)
        self._wire.check_dot()
        before_dot()
        answer = await self._wire.final(tail, self._settings.verdict)
        self.unfinished = False
        self.messages += 1
        self.used = True
        return _verdict(Step.DOT, answer)

    async def quit(self, limit: float) -> None:
        """Part politely, and wait for the answer at most ``limit`` seconds; never raises."""
        with contextlib.suppress(SessionTrouble):
            await self._wire.command(Step.QUIT, b"QUIT", limit)
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._wire.abort()

    async def _stream(self, chunks: AsyncIterator[bytes]) -> bytes:
        """Send all but the last of the content; return that with the final dot, to go in one piece."""
        stuffer, held = DotStuffer(), b""
        async for chunk in chunks:
            if held:
                await self._wire.content(held, self._settings.reply)
            held = stuffer.feed(chunk)
        return held + stuffer.finish()

    async def _reply(self, step: Step, line: bytes) -> Reply:
        return _verdict(step, await self._command(step, line))

    async def _command(self, step: Step, line: bytes) -> Answer:
        return await self._wire.command(step, line, self._settings.reply)

    def _name(self) -> str:
        name = self._settings.domain or socket.gethostname()
        if self._settings.domain or "." in name:
            return name
        end = self._wire.local_host or "127.0.0.1"
        return f"[IPv6:{end}]" if ":" in end else f"[{end}]"


def _expect(step: Step, answer: Answer, code: int) -> None:
    """Accept one code only: anything else here means that the session cannot be used."""
    if answer.code != code:
        raise SessionTrouble(step, _refusal(step, answer))


def _verdict(step: Step, answer: Answer) -> Reply:
    """Take any 2yz as yes: the first digit decides (4.3.2)."""
    return Reply.of(*answer) if 200 <= answer.code <= 299 else _refusal(step, answer)


def _refusal(step: Step, answer: Answer) -> Reply:
    """Take 4yz and 5yz as no; any other is no answer to this step, and 421 no answer to anything.

    Raises:
        SessionTrouble: the server goes down (421, section 3.8) or does not follow the protocol.

    """
    if answer.code < 400:
        raise garbled(step, f'the answer was "{answer}"')
    if answer.code == 421:
        raise SessionTrouble(step, Reply.of(*answer))
    return Reply.of(*answer)
