"""A session with a server: one method for each step of the SMTP dialogue (RFC 5321)."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from emailrelay.events import Report
from emailrelay.reply import Reply
from emailrelay.secrets import AuthConfig, Mechanism
from emailrelay.store.limits import Slot
from emailrelay_forwarder.session.account import Account, Accounts, nobody
from emailrelay_forwarder.session.dot_stuff import DotStuffer
from emailrelay_forwarder.session.extensions import extensions_of, largest_message
from emailrelay_forwarder.session.patience import Patience
from emailrelay_forwarder.session.policy import Policy
from emailrelay_forwarder.session.racing import Silent
from emailrelay_forwarder.session.sign_in import choice, sign_in
from emailrelay_forwarder.session.trouble import SessionError, SessionStep, garbled, unprotected
from emailrelay_forwarder.session.wire import RawReply, Wire

MOST_RECIPIENTS = 100
"""Of one transaction: every server takes as many (RFC 5321 section 4.5.3.1.8), or says that it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How sessions are opened and used. Times in seconds, each for one step without any progress."""

    connect: float = 40.0
    greeting: Patience = field(default_factory=lambda: Patience(20.0, 300.0))
    """For each server: this one learns as sessions are opened."""
    reply: float = 300.0
    verdict: float = 600.0
    """For the reply to the final dot: a shorter wait makes duplicates (RFC 5321 4.5.3.2.6)."""
    domain: str | None = None
    """Our name for EHLO; None: the host's, or the address literal of the connection's end."""
    local_address: str | None = None
    policy: Policy = field(default_factory=Policy)
    """What must hold on each connection, unless its route has a policy of its own."""
    accounts: Accounts = nobody
    """Who we say we are."""
    without: frozenset[str] = frozenset()
    """Extensions that are not used, in lower case, whether a server offers them or not."""
    silent: Silent = field(default_factory=Silent)
    """The addresses that lately did not answer, for as long as these settings hold."""
    dialogue: Report | None = None
    """Where each line of a dialogue is told; None: nowhere, at no cost."""


class Session:
    """An open session. Whoever has it aborts it when any of its methods did not return."""

    __slots__ = (
        "_settings",
        "_wire",
        "extensions",
        "idle_since",
        "messages",
        "most_recipients",
        "peer",
        "settling",
        "slot",
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
        self.most_recipients = MOST_RECIPIENTS
        """Of one transaction; fewer where the server has said so."""
        self.unfinished = False
        """Whether a transaction was begun that needs RSET before the next."""
        self.used = False
        """Whether an earlier message, or part of this one, was answered for here."""
        self.settling: asyncio.Event | None = None
        """Set when the last message that was accepted here is settled."""
        self.idle_since = 0.0
        self.slot: Slot | None = None
        """The right to this connection, where the route has a limit; given back when it ends."""

    @property
    def usable(self) -> bool:
        """Whether another command can be sent, as far as one can know without sending it."""
        return self._wire.quiet

    @property
    def largest(self) -> int | None:
        """The octets of the largest message the server takes, if it says so (RFC 1870)."""
        return largest_message(self.extensions)

    @property
    def encryption(self) -> ssl.SSLObject | None:
        """What there is to know of the encryption; None: there is none."""
        return self._wire.encryption

    async def introduce(self) -> None:
        """Take the greeting and say EHLO, or HELO to a server that does not know EHLO (4.1.1.1)."""
        patience = self._settings.greeting
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            greeting = await self._wire.reply(SessionStep.GREETING, patience.of(self.peer))
        except SessionError:
            if self._wire.timed_out:
                patience.silent(self.peer)
            raise
        patience.greeted(self.peer, loop.time() - began)
        _expect(SessionStep.GREETING, greeting, 220)
        await self._hello()

    async def start_tls(self) -> None:
        """Ask for TLS (RFC 3207); ``encrypt`` and ``introduce_again`` follow.

        Raises:
            SessionError: the server does not offer it, or refuses.

        """
        if "starttls" not in self.extensions:
            text = "mail goes there only encrypted, but the server offers no STARTTLS"
            raise unprotected(SessionStep.STARTTLS, text)
        _expect(SessionStep.STARTTLS, await self._command(SessionStep.STARTTLS, b"STARTTLS"), 220)

    async def encrypt(self, context: ssl.SSLContext, name: str) -> None:
        """Begin TLS; see ``Wire.encrypt``."""
        await self._wire.encrypt(context, name, self._settings.connect)

    async def introduce_again(self) -> None:
        """Say EHLO under TLS: what was said in clear counts no more (RFC 3207 section 4.2)."""
        self.extensions = {}
        await self._hello()

    async def sign_in(self, account: Account, auth: AuthConfig) -> Mechanism:
        """Prove who we are; return the mechanism that did it. See ``sign_in.sign_in``."""
        encrypted = self._wire.encryption is not None
        mechanisms = choice(account, self.extensions, auth, encrypted=encrypted)
        return await sign_in(
            _SigningIn(self._wire, self._settings), account, mechanisms, self.extensions
        )

    async def _hello(self) -> None:
        name = self._name().encode("ascii", "replace")
        answer = await self._command(SessionStep.EHLO, b"EHLO " + name)
        if answer.code in {500, 502}:
            answer = await self._command(SessionStep.EHLO, b"HELO " + name)
            _expect(SessionStep.EHLO, answer, 250)
            return
        _expect(SessionStep.EHLO, answer, 250)
        without = self._settings.without
        self.extensions = {
            name: more
            for name, more in extensions_of(answer.message).items()
            if name not in without
        }

    async def begin(self) -> None:
        """Make ready for a transaction."""
        if self.unfinished:
            _expect(SessionStep.RSET, await self._command(SessionStep.RSET, b"RSET"), 250)
        self.unfinished = True

    async def ask(self, step: SessionStep, line: bytes) -> Reply:
        """Say MAIL, RCPT or DATA. To DATA 354 means go ahead; any other code is a refusal."""
        return _judged(step, await self._command(step, line))

    def say(self, commands: Sequence[tuple[SessionStep, bytes]]) -> None:
        """Say several of these at once; each must be followed by its ``hear``, in this order."""
        self._wire.send_all(commands)

    async def hear(self, step: SessionStep) -> Reply:
        """Wait for the reply to the next of what was said at once; see ``ask``."""
        return _judged(step, await self._wire.reply(step, self._settings.reply))

    async def nothing(self) -> None:
        """Send no content after a 354 that no recipient is behind (RFC 2920 section 3.1)."""
        answer = await self._wire.final(b".\r\n", self._settings.verdict)
        self.unfinished = False
        _verdict(SessionStep.DOT, answer)

    async def content(
        self,
        chunks: AsyncIterator[bytes],
        before_dot: Callable[[], Awaitable[None]],
        ready: asyncio.Event | None = None,
    ) -> Reply:
        """Send the content and return the verdict on it.

        At most a few chunks are in memory at any time.

        Args:
            chunks: the content, in any chunks, with any line ends.
            before_dot: awaited when only the last octets with the final dot are left to be sent.
            ready: waited for before that.

        """
        tail = await self._stream(chunks)
        if ready is not None:
            await ready.wait()
        self._wire.check_dot()
        await before_dot()
        answer = await self._wire.final(tail, self._settings.verdict)
        self.unfinished = False
        self.messages += 1
        self.used = True
        return _verdict(SessionStep.DOT, answer)

    async def quit(self, limit: float) -> None:
        """Part politely, and wait for the answer at most ``limit`` seconds; never raises."""
        with contextlib.suppress(SessionError):
            await self._wire.command(SessionStep.QUIT, b"QUIT", limit)
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._wire.abort()
        if self.slot is not None:
            self.slot.release()

    async def _stream(self, chunks: AsyncIterator[bytes]) -> bytes:
        """Send all but the last of the content; return that with the final dot, to go in one piece."""
        stuffer, held = DotStuffer(), b""
        async for chunk in chunks:
            if held:
                await self._wire.content(held, self._settings.reply)
            held = stuffer.feed(chunk)
        return held + stuffer.finish()

    async def _command(self, step: SessionStep, line: bytes) -> RawReply:
        return await self._wire.command(step, line, self._settings.reply)

    def _name(self) -> str:
        name = self._settings.domain or socket.gethostname()
        if self._settings.domain or "." in name:
            return name
        end = self._wire.local_host or "127.0.0.1"
        return f"[IPv6:{end}]" if ":" in end else f"[{end}]"


@dataclass(frozen=True, slots=True)
class _SigningIn:
    """The wire as an exchange of AUTH sees it."""

    wire: Wire
    settings: SessionSettings

    async def ask(self, line: bytes) -> RawReply:
        """See ``Exchanging``."""
        return await self.wire.command(SessionStep.AUTH, line, self.settings.reply)

    def hide(self, secret: bytes) -> None:
        """See ``Exchanging``."""
        self.wire.redaction.hide(secret)


def _expect(step: SessionStep, answer: RawReply, code: int) -> None:
    """Accept one code only: anything else here means that the session cannot be used."""
    if answer.code != code:
        raise SessionError(step, _refusal(step, answer))


def _judged(step: SessionStep, answer: RawReply) -> Reply:
    """Take as yes what the step calls for: 354 to DATA, any 2yz to all others."""
    if step is not SessionStep.DATA:
        return _verdict(step, answer)
    return Reply.of(*answer) if answer.code == 354 else _refusal(step, answer)


def _verdict(step: SessionStep, answer: RawReply) -> Reply:
    """Take any 2yz as yes: the first digit decides (4.3.2)."""
    return Reply.of(*answer) if 200 <= answer.code <= 299 else _refusal(step, answer)


def _refusal(step: SessionStep, answer: RawReply) -> Reply:
    """Take 4yz and 5yz as no; any other is no answer to this step, and 421 no answer to anything.

    Raises:
        SessionError: the server goes down (421, section 3.8) or does not follow the protocol.

    """
    if answer.code < 400:
        raise garbled(step, f'the answer was "{answer}"')
    if answer.code == 421:
        raise SessionError(step, Reply.of(*answer))
    return Reply.of(*answer)
