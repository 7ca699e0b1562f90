"""A session with a server: one method for each step of the SMTP dialogue (RFC 5321)."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence

from emailrelay.events.sessions import TlsHandshake
from emailrelay.reply import Reply
from emailrelay.secrets import AuthConfig, Mechanism
from emailrelay.store.limits import Slot
from emailrelay_forwarder.session.account import Account
from emailrelay_forwarder.session.dot_stuff import DotStuffer
from emailrelay_forwarder.session.extensions import extensions_of, largest_message
from emailrelay_forwarder.session.moment import Moment
from emailrelay_forwarder.session.reply_judgement import expect, judged
from emailrelay_forwarder.session.reply_reader import RawReply
from emailrelay_forwarder.session.session_error import (
    SessionError,
    SessionStep,
    unprotected,
)
from emailrelay_forwarder.session.session_settings import SessionSettings
from emailrelay_forwarder.session.sign_in import choice, sign_in
from emailrelay_forwarder.session.transaction_size import TransactionSize
from emailrelay_forwarder.session.wire import Wire


class Session:
    """An open session. Its user must abort it if one of its methods raises an error."""

    __slots__ = (
        "_settings",
        "_wire",
        "extensions",
        "idle_since",
        "largest",
        "messages",
        "open_mail",
        "owner",
        "peer",
        "settling",
        "slot",
        "taken_at",
        "tls",
        "transaction_size",
        "unfinished",
        "used",
    )

    def __init__(self, wire: Wire, peer: str, settings: SessionSettings) -> None:
        self._wire = wire
        self._settings = settings
        self.peer = peer
        """The numeric address of the server."""
        self.tls = ""
        """The version of TLS, such as ``TLSv1.3``; empty: the connection is not encrypted."""
        self.extensions: Mapping[str, str] = {}
        """EHLO keywords in lower case, with their parameters."""
        self.largest: int | None = None
        """The size limit for messages in octets, if the server gives one (RFC 1870)."""
        self.messages = 0
        """The number of accepted contents."""
        self.transaction_size = TransactionSize()
        """The most recipients of a transaction; ``Smarthost.take`` gives that of the server."""
        self.unfinished = False
        """True if an open transaction needs RSET before the next."""
        self.open_mail = b""
        """The MAIL command of an open transaction that only asks about recipients; else empty."""
        self.used = False
        """True if the server has answered for an earlier message, or a part of this one, here."""
        self.settling: Moment | None = None
        """Set when the last message that was accepted here is settled."""
        self.owner = ""
        """The last user of this session; empty: no user in particular."""
        self.taken_at = self.idle_since = 0.0
        """Times of the loop at which a message last began and ended its use of this session."""
        self.slot: Slot | None = None
        """The right to this connection, if the route has a limit; released at its end."""

    @property
    def usable(self) -> bool:
        """True if another command can be sent, as far as known without sending it."""
        return self._wire.quiet

    @property
    def encryption(self) -> ssl.SSLObject | None:
        """The TLS connection; None: the connection is not encrypted."""
        return self._wire.encryption

    async def introduce(self) -> None:
        """Read the greeting, and say ``hello``."""
        timeout = self._settings.greeting
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            greeting = await self._wire.reply(SessionStep.GREETING, timeout.of(self.peer))
        except SessionError:
            if self._wire.timed_out:
                timeout.silent(self.peer)
            raise
        timeout.greeted(self.peer, loop.time() - began)
        expect(SessionStep.GREETING, greeting, 220)
        await self.hello()

    async def start_tls(self) -> None:
        """Ask for TLS (RFC 3207); ``encrypt`` and ``hello`` follow.

        Raises:
            SessionError: the server does not offer it, or refuses.

        """
        if "starttls" not in self.extensions:
            text = "mail goes there only encrypted, but the server offers no STARTTLS"
            raise unprotected(SessionStep.STARTTLS, text)
        expect(SessionStep.STARTTLS, await self._command(SessionStep.STARTTLS, b"STARTTLS"), 220)

    async def encrypt(self, context: ssl.SSLContext, name: str) -> None:
        """Begin TLS; see ``Wire.encrypt``."""
        result = "failure"
        try:
            await self._wire.encrypt(context, name, self._settings.connect)
            if (encryption := self._wire.encryption) is not None:
                self.tls = encryption.version() or ""
            result = "success"
        finally:
            self._settings.report(TlsHandshake(side="client", result=result, peer=self.peer))

    async def sign_in(self, account: Account, auth: AuthConfig) -> Mechanism:
        """Authenticate; return the mechanism used. See ``sign_in.sign_in``."""
        encrypted = self._wire.encryption is not None
        mechanisms = choice(account, self.extensions, auth, encrypted=encrypted)
        return await sign_in(self._wire, self._settings.reply, account, mechanisms, self.extensions)

    async def hello(self) -> None:
        """Send EHLO, or HELO to a server without EHLO (4.1.1.1).

        The extensions sent in clear before TLS no longer count (RFC 3207 section 4.2).
        """
        self.extensions, self.largest = {}, None
        name = self._name().encode("ascii", "replace")
        answer = await self._command(SessionStep.EHLO, b"EHLO " + name)
        if answer.code in {500, 502}:
            answer = await self._command(SessionStep.EHLO, b"HELO " + name)
            expect(SessionStep.EHLO, answer, 250)
            return
        expect(SessionStep.EHLO, answer, 250)
        without = self._settings.without
        self.extensions = {
            name: more
            for name, more in extensions_of(answer.message).items()
            if name not in without
        }
        self.largest = largest_message(self.extensions)

    def takes_at_most(self, recipients: int) -> None:
        """Offer no transaction with more recipients to this server from now on."""
        self.transaction_size.lower(recipients, asyncio.get_running_loop().time())

    async def begin(self) -> None:
        """Prepare a transaction."""
        if self.unfinished:
            expect(SessionStep.RSET, await self._command(SessionStep.RSET, b"RSET"), 250)
        self.unfinished, self.open_mail = True, b""

    async def ask(self, step: SessionStep, line: bytes) -> Reply:
        """Send MAIL, RCPT or DATA. 354 accepts DATA; any other code refuses it."""
        return judged(step, await self._command(step, line))

    def say(self, commands: Sequence[bytes]) -> None:
        """Send MAIL and others of these at once; a ``hear`` for each must follow, in this order."""
        self._wire.send_all(SessionStep.MAIL, commands)

    async def hear(self, step: SessionStep) -> Reply:
        """Wait for the reply to the next of the commands sent by ``say``; see ``ask``."""
        return judged(step, await self._wire.reply(step, self._settings.reply))

    def at_hand(self, step: SessionStep) -> Reply | None:
        """Return the reply that ``hear`` would return, if it has arrived."""
        reply = self._wire.at_hand(step)
        return None if reply is None else judged(step, reply)

    async def nothing(self) -> None:
        """Send an empty content after a 354 without recipients (RFC 2920 section 3.1)."""
        answer = await self._wire.final(b".\r\n", self._settings.verdict)
        self.unfinished = False
        judged(SessionStep.DOT, answer)

    async def content(self, chunks: AsyncIterator[bytes]) -> bytes:
        """Send all of the content but the end, and return that; ``final_dot`` sends it.

        At most a few chunks are in memory at any time. They may have any line ends.
        """
        stuffer, held = DotStuffer(), b""
        async for chunk in chunks:
            if held:
                await self._wire.content(held, self._settings.reply)
            held = stuffer.feed(chunk)
        return held + stuffer.finish()

    def check_dot(self) -> None:
        """Raise SessionError if the final dot must not be sent: unsolicited octets, or no peer."""
        self._wire.check_dot()

    async def final_dot(self, tail: bytes) -> Reply:
        """Send the end of the content, with the final dot; return the reply to the content.

        Raises:
            SessionError: the session is over; at another step than ``DOT``: nothing was sent.

        """
        answer = await self._wire.final(tail, self._settings.verdict)
        self.unfinished = False
        self.messages += 1
        self.used = True
        return judged(SessionStep.DOT, answer)

    async def quit(self, limit: float) -> None:
        """Send QUIT, and wait for the answer at most ``limit`` seconds; never raises."""
        with contextlib.suppress(SessionError):
            await self._wire.command(SessionStep.QUIT, b"QUIT", limit)
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._wire.abort()
        if self.slot is not None:
            self.slot.release()

    async def _command(self, step: SessionStep, line: bytes) -> RawReply:
        return await self._wire.command(step, line, self._settings.reply)

    def _name(self) -> str:
        name = self._settings.domain or socket.gethostname()
        if self._settings.domain or "." in name:
            return name
        end = self._wire.local_host or "127.0.0.1"
        return f"[IPv6:{end}]" if ":" in end else f"[{end}]"
