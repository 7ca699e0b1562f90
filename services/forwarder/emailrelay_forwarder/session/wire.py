"""The only user of aiosmtplib: its protocol, with strict replies and no limit on slow lines.

Only the public interface of ``SMTPProtocol`` is used. The differences (aiosmtplib 5.1):

* Unsolicited octets are kept, not dropped. A server may answer before it is asked ("354 go" and
  "250 early" at once). Its early answer would otherwise pass for the answer to the final dot: mail
  lost. Here such a server gets no further command.
* A reply must have one code; the library takes that of the last line.
* A time limit means no progress: a large message on a slow line takes the time that it needs.
* The content is streamed; the library needs all of it in memory, twice.
* Every error becomes a ``SessionError``.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, cast

from aiosmtplib.protocol import SMTPProtocol

from emailrelay.reply import Reply
from emailrelay_forwarder.session import tls
from emailrelay_forwarder.session.redaction import Redaction
from emailrelay_forwarder.session.reply_reader import (
    MOST_WAITING,
    RawReply,
    ReplyGarbled,
    ReplyReader,
)
from emailrelay_forwarder.session.session_error import (
    SessionError,
    SessionStep,
    cut_off,
    garbled,
    in_words,
    unprotected,
)
from emailrelay_forwarder.session.stall_timer import StallTimer
from emailrelay_forwarder.session.transcript import Transcript

_CHALLENGE = 334
"""RFC 4954 section 4."""


class Wire(SMTPProtocol):
    """One connection to a server: commands out, replies in, content out."""

    def __init__(self, transcript: Transcript | None = None) -> None:
        self._clock = asyncio.get_running_loop()
        super().__init__(self._clock)
        self._transcript = transcript
        self._sending: asyncio.WriteTransport
        """The transport, once there is one."""
        self._reader = ReplyReader()
        self.redaction = Redaction()
        """Removes secrets from replies."""
        self._news: asyncio.Future[None] | None = None
        """Done when the server has sent something or has closed the connection; None: no waiter."""
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = ""
        """The reason for the end of the connection; empty: it has not ended."""
        self.timed_out = False
        """True if we ended the connection because the server was silent for too long."""
        self._stall = StallTimer(self._clock, self._give_up)
        """Ends the connection if the peer makes no progress for the time limit of a wait."""

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._sending = cast("asyncio.WriteTransport", transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Keep the octets for ``reply``, or as proof that the server sent them unasked."""
        self._reader.feed(data)
        if self._reader.waiting > MOST_WAITING:  # no reply will be read any more
            self._ended = self._ended or "the server sends without end"
            self.abort()
        self._wake()

    def eof_received(self) -> bool:
        """Note the reason; the transport closes itself."""
        self._ended = self._ended or "the server closed the connection"
        self._wake()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the reason, and wake the waiter."""
        self._ended = self._ended or f"connection lost{f' ({in_words(exc)})' if exc else ''}"
        self._wake()
        self._writable.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        super().pause_writing()
        self._writable.clear()

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        super().resume_writing()
        self._writable.set()

    # Called by the session.

    @property
    def quiet(self) -> bool:
        """True if the connection is open and the server has sent nothing unasked."""
        transport = self.transport
        return not (
            self._ended or self._reader.waiting or transport is None or transport.is_closing()
        )

    @property
    def local_host(self) -> str | None:
        """Our IP address on this connection; None on a unix socket."""
        name: tuple[Any, ...] | str | None = (
            None if self.transport is None else self.transport.get_extra_info("sockname")
        )
        return str(name[0]) if isinstance(name, tuple) else None

    @property
    def encryption(self) -> ssl.SSLObject | None:
        """The TLS connection; None: the connection is not encrypted."""
        return None if self.transport is None else self.transport.get_extra_info("ssl_object")

    async def encrypt(self, context: ssl.SSLContext, name: str, limit: float) -> None:
        """Begin TLS. ``name`` is sent to the server and, if the context says so, verified.

        Octets in clear that no command has asked for may be an attacker's. They end the session
        (response injection, RFC 3207 section 6).
        """
        if self._reader.waiting and self.is_connected:
            raise garbled(SessionStep.TLS, "the server spoke before the handshake")
        self._check(SessionStep.TLS)
        try:
            self.transport = await self._clock.start_tls(
                self._sending, self, context, server_hostname=name, ssl_handshake_timeout=limit
            )
        except ConnectionAbortedError as error:  # asyncio's error for a handshake that stalls
            raise cut_off(SessionStep.TLS, f"no end within {limit:g} s") from error
        except (ConnectionError, ssl.SSLEOFError) as error:
            text = "connection closed (perhaps the server speaks no TLS 1.2 or later)"
            raise cut_off(SessionStep.TLS, text) from error
        except (OSError, ValueError) as error:  # ValueError: the name cannot be a host's
            raise unprotected(SessionStep.TLS, tls.reason(error)) from error
        self._sending = cast("asyncio.WriteTransport", self.transport)

    async def command(self, step: SessionStep, line: bytes, limit: float) -> RawReply:
        """Send one command line, given without CRLF, and wait for its reply.

        The caller makes sure that ``line`` has no control characters.
        """
        self._send(step, line + b"\r\n")
        return await self.reply(step, limit)

    def send_all(self, step: SessionStep, lines: Sequence[bytes]) -> None:
        """Send several command lines at once (RFC 2920); each has a ``reply``, in this order.

        ``step`` is that of the first one. If a command is answered twice, the next send finds it:
        there must be nothing left to read.
        """
        self._send(step, b"\r\n".join((*lines, b"")))

    async def reply(self, step: SessionStep, limit: float) -> RawReply:
        """Take the next reply, the greeting first; it may have arrived with the previous one."""
        reply = self.at_hand(step)
        if reply is not None:
            return reply
        self._stall.begin(limit, self._sending if step is SessionStep.DOT else None)
        try:
            while reply is None:
                if self._ended:
                    raise cut_off(step, self._ended)
                self._news = self._clock.create_future()
                await self._news
                reply = self.at_hand(step)
        finally:
            self._stall.end()
        return reply

    def at_hand(self, step: SessionStep) -> RawReply | None:
        """Take the next reply if it has arrived; None: ``reply`` waits for it."""
        try:
            reply = self._reader.take()
        except ReplyGarbled as error:
            # The cause may contain a secret.
            raise garbled(step, self.redaction(str(error))) from None
        if reply is None:
            return None
        # A challenge stays whole: a weak password may be part of the prompt "Password:".
        if self.redaction.hides and not (step is SessionStep.AUTH and reply.code == _CHALLENGE):
            reply = RawReply(reply.code, self.redaction(reply.message))
        if self._transcript is not None:
            self._transcript.received(step, *reply)
        return reply

    async def content(self, chunk: bytes, limit: float) -> None:
        """Send encoded content; return when the peer has taken enough of it."""
        self._send(SessionStep.CONTENT, chunk)
        if not self._writable.is_set():
            self._stall.begin(limit, self._sending)
            try:
                await self._writable.wait()
            finally:
                self._stall.end()
            self._check(SessionStep.CONTENT)

    async def final(self, tail: bytes, limit: float) -> RawReply:
        """Send the last of the content with the final dot, and wait for the verdict.

        The limit starts again whenever the peer takes octets of the content. An error at another
        step than ``DOT`` means that nothing was sent.
        """
        self._check(SessionStep.CONTENT)
        self._sending.write(tail)
        if self._transcript is not None:
            self._transcript.sent(SessionStep.DOT, tail)
        reply = await self.reply(SessionStep.DOT, limit)
        # A server that shuts down may send a 421 with it. With any other second answer it is
        # unknown which of them is the verdict.
        if self._reader.waiting and (second := self._spoken()) and second.code != 421:
            raise garbled(
                SessionStep.DOT, f'two answers: "{reply.code} {reply.message}", "{second}"'
            )
        return reply

    def check_dot(self) -> None:
        """Raise SessionError if the final dot must not be sent: unsolicited octets, or no peer."""
        self._check(SessionStep.CONTENT)

    def abort(self) -> None:
        """Drop the connection at once, and the octets not sent yet."""
        self._stall.cancel()
        if self.transport is not None:
            self._sending.abort()

    def _send(self, step: SessionStep, octets: bytes) -> None:
        self._check(step)
        self._sending.write(octets)
        if self._transcript is not None:
            self._transcript.sent(step, octets)

    def _check(self, step: SessionStep) -> None:
        if self.quiet:
            return
        if not self._reader.waiting:
            raise cut_off(step, self._ended or "connection closed")
        spoken = self._spoken()
        if spoken is not None and spoken.code >= 400:
            raise SessionError(step, spoken)
        raise garbled(step, f'the server spoke out of turn: "{spoken or "garbage"}"')

    def _spoken(self) -> Reply | None:
        """Take an unsolicited reply, if it is one."""
        try:
            reply = self._reader.take()
        except ReplyGarbled:
            return None
        return Reply.of(reply[0], self.redaction(reply[1])) if reply else None

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _give_up(self, limit: float) -> None:
        self._ended, self.timed_out = f"no answer within {limit:g} s", True
        self.abort()
