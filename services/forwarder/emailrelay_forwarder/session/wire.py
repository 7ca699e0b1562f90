"""The only seam to aiosmtplib: its protocol, made strict about replies and patient with slow lines.

What is changed, and why (aiosmtplib 5.1):

* Octets that nobody asked for are kept, not dropped. A server that answers before it was asked
  ("354 go" and "250 early" at once) would otherwise have its early answer taken for that to the final
  dot: mail lost. Here such a server gets no further command.
* A reply must have one code; the library takes the last line's.
* A time limit means no progress: a large message on a slow line takes as long as it takes.
* The content is streamed; the library wants all of it in memory, twice.
* Every error comes out as ``SessionError``.
"""

import asyncio
import fcntl
import ssl
import sys
import termios
from collections.abc import Awaitable, Sequence
from typing import Any, TypeAlias, TypeVar, cast

from aiosmtplib.protocol import SMTPProtocol
from aiosmtplib.response import SMTPResponse

from emailrelay import linux
from emailrelay.reply import Reply
from emailrelay_forwarder.session import tls
from emailrelay_forwarder.session.redaction import Redaction
from emailrelay_forwarder.session.reply_reader import ReplyGarbled, ReplyReader
from emailrelay_forwarder.session.stall import Stall
from emailrelay_forwarder.session.transcript import Transcript
from emailrelay_forwarder.session.trouble import (
    SessionError,
    SessionStep,
    cut_off,
    garbled,
    in_words,
    unprotected,
)

_T = TypeVar("_T")

RawReply: TypeAlias = SMTPResponse
"""A reply as it was read: ``code`` and ``message``, the lines of the latter joined by ``\\n``."""


_CHALLENGE = 334
"""RFC 4954 section 4."""


class Wire(SMTPProtocol):
    """One connection to a server: commands out, replies in, content out."""

    def __init__(self, transcript: Transcript | None = None) -> None:
        super().__init__(asyncio.get_running_loop())
        self._transcript = transcript
        self._reader = ReplyReader()
        self.redaction = Redaction()
        """What must not be seen of replies."""
        self._news: asyncio.Future[None] | None = None
        """Done as soon as the server has said more, or has gone; for the one who waits."""
        self._ended = ""
        self.timed_out = False
        """Whether we ended the connection, since the server was silent for too long."""
        self._stall: Stall | None = None
        """What is waited for now; None: nobody waits."""
        self._armed = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # What the loop calls.

    def data_received(self, data: bytes) -> None:
        """Keep it for the one who waits, or to be found out if nobody asked."""
        self._reader.feed(data)
        self._wake()

    def eof_received(self) -> bool:
        """Note how it ended; the transport closes itself."""
        self._ended = self._ended or "the server closed the connection"
        self._wake()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note how it ended, and wake whoever waits."""
        self._ended = self._ended or f"connection lost{f' ({in_words(exc)})' if exc else ''}"
        self._wake()
        super().connection_lost(exc)

    # What the session calls.

    @property
    def quiet(self) -> bool:
        """Whether the connection stands and the server has said nothing beyond what it was asked."""
        return self.is_connected and not self._ended and self._reader.empty

    @property
    def local_host(self) -> str | None:
        """Our IP address on this connection; None on a unix socket."""
        name: tuple[Any, ...] | str | None = (
            None if self.transport is None else self.transport.get_extra_info("sockname")
        )
        return str(name[0]) if isinstance(name, tuple) else None

    @property
    def encryption(self) -> ssl.SSLObject | None:
        """What there is to know of the encryption; None: there is none."""
        return None if self.transport is None else self.transport.get_extra_info("ssl_object")

    async def encrypt(self, context: ssl.SSLContext, name: str, limit: float) -> None:
        """Begin TLS. ``name`` is sent to the server and, if the context says so, verified.

        Whatever the server said before in clear, and nobody took, may be somebody else's: then
        there is no session (response injection, RFC 3207 section 6).
        """
        if not self._reader.empty and self.is_connected:
            raise garbled(SessionStep.TLS, "the server spoke before the handshake")
        self._check(SessionStep.TLS)
        transport = cast("asyncio.WriteTransport", self.transport)
        try:
            self.transport = await self._loop.start_tls(
                transport, self, context, server_hostname=name, ssl_handshake_timeout=limit
            )
        except ConnectionAbortedError as error:  # what asyncio makes of a handshake that stalls
            raise cut_off(SessionStep.TLS, f"no end within {limit:g} s") from error
        except (ConnectionError, ssl.SSLEOFError) as error:
            text = "connection closed (perhaps the server speaks no TLS 1.2 or later)"
            raise cut_off(SessionStep.TLS, text) from error
        except (OSError, ValueError) as error:  # ValueError: of a name that can be none
            raise unprotected(SessionStep.TLS, tls.reason(error)) from error
        self._over_ssl = True

    async def command(self, step: SessionStep, line: bytes, limit: float) -> RawReply:
        """Send one command line, given without CRLF, and wait for its reply.

        The caller has seen to it that ``line`` holds no control characters.
        """
        self._send(step, line + b"\r\n")
        return await self.reply(step, limit)

    def send_all(self, commands: Sequence[tuple[SessionStep, bytes]]) -> None:
        """Send several command lines at once (RFC 2920); each has a ``reply``, in this order.

        A command that is answered twice is found out with the next thing to be sent, as ever: there
        must be nothing left to read then.
        """
        self._send(commands[0][0], b"".join([line + b"\r\n" for _, line in commands]))

    async def reply(self, step: SessionStep, limit: float) -> RawReply:
        """Take the next reply, the greeting being the first; it may have come along with the one before."""
        try:
            reply = self._reader.take()
            if reply is None:
                reply = await self._within(step, limit, self._coming(step))
        except ReplyGarbled as error:
            # Its cause would repeat what may be a secret.
            raise garbled(step, self.redaction(str(error))) from None
        code, text = reply
        if (
            code != _CHALLENGE or step is not SessionStep.AUTH
        ):  # "Password:" may be part of a weak one
            reply = (code, self.redaction(text))
        if self._transcript is not None:
            self._transcript.received(step, *reply)
        return RawReply(*reply)

    async def content(self, chunk: bytes, limit: float) -> None:
        """Send encoded content; returns when the peer has taken enough of it for more to follow."""
        self._send(SessionStep.CONTENT, chunk)
        if self._paused:
            await self._within(SessionStep.CONTENT, limit, self._drain_helper())
            self._check(SessionStep.CONTENT)

    async def final(self, tail: bytes, limit: float) -> RawReply:
        """Send the last of the content with the final dot, and wait for the verdict.

        The limit begins anew whenever the peer takes octets of the content that are still on their way.
        """
        self._send(SessionStep.DOT, tail)
        reply = await self.reply(SessionStep.DOT, limit)
        # A 421 may come along with it, from a server that goes down next. Any other second answer
        # means that we do not know which of them is the verdict.
        if not self._reader.empty and (second := self._spoken()) and second.code != 421:
            raise garbled(
                SessionStep.DOT, f'two answers: "{reply.code} {reply.message}", "{second}"'
            )
        return reply

    def check_dot(self) -> None:
        """Raise SessionError if the final dot must not be sent: the server spoke or went."""
        self._check(SessionStep.CONTENT)

    def abort(self) -> None:
        """Drop the connection at once, with whatever is not sent yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.transport is not None:
            cast("asyncio.WriteTransport", self.transport).abort()

    # Inside.

    def _send(self, step: SessionStep, octets: bytes) -> None:
        self._check(step)
        cast("asyncio.WriteTransport", self.transport).write(octets)
        if self._transcript is not None:
            self._transcript.sent(step, octets)

    def _check(self, step: SessionStep) -> None:
        if self.quiet:
            return
        if self._reader.empty:
            raise cut_off(step, self._ended or "connection closed")
        spoken = self._spoken()
        if spoken is not None and spoken.code >= 400:
            raise SessionError(step, spoken)
        raise garbled(step, f'the server spoke out of turn: "{spoken or "garbage"}"')

    def _spoken(self) -> Reply | None:
        """Take the reply that nobody asked for, if it is one."""
        try:
            reply = self._reader.take()
        except ReplyGarbled:
            return None
        return Reply.of(reply[0], self.redaction(reply[1])) if reply else None

    async def _coming(self, step: SessionStep) -> tuple[int, str]:
        """Give the next reply, which is not there yet."""
        reply = None
        while reply is None:
            if self._ended:
                raise cut_off(step, self._ended)
            self._news = self._loop.create_future()
            await self._news
            reply = self._reader.take()
        return reply

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _within(self, step: SessionStep, limit: float, awaited: Awaitable[_T]) -> _T:
        """Await, but give up when the peer has neither answered nor taken anything for ``limit`` s."""
        sending = step is SessionStep.DOT or step is SessionStep.CONTENT
        self._stall = Stall(limit, self._loop.time(), sending=sending)
        self._look_at(self._stall.look_at)
        try:
            return await awaited
        except OSError as error:
            raise cut_off(step, self._ended or in_words(error)) from error
        finally:
            self._stall = None

    def _look_at(self, due: float) -> None:
        """Have ``_look`` called by then. One timer serves wait after wait: it finds out what is due."""
        if self._timer is not None:
            if self._armed <= due:
                return
            self._timer.cancel()
        self._armed, self._timer = due, self._loop.call_at(due, self._look)

    def _look(self) -> None:
        """End the connection if it is time to; else look again when that may be."""
        self._timer, stall, now = None, self._stall, self._loop.time()
        if stall is None:
            return
        if now < stall.look_at or not stall.over(now, self._unsent):
            self._look_at(stall.look_at)
            return
        self._ended, self.timed_out = f"no answer within {stall.limit:g} s", True
        self.abort()

    def _unsent(self) -> int:
        """Give the octets that the peer has not acknowledged yet, ours and the kernel's."""
        if self.transport is None:
            return 0
        transport = cast("asyncio.WriteTransport", self.transport)
        ours = transport.get_write_buffer_size()
        sock = transport.get_extra_info("socket")
        if not linux.AVAILABLE or sock is None or sock.fileno() < 0:
            return ours
        # SIOCOUTQ, tcp(7) and unix(7).
        kernels = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
        return ours + int.from_bytes(kernels, sys.byteorder)
