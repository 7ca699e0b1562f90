"""A client's connection for the session: lines and content in, replies out, under time limits."""

import asyncio
import ssl
from collections.abc import Callable

from emailrelay.reply import Reply
from emailrelay_receiver.connection.phase import Phase
from emailrelay_receiver.connection.session_log import SessionLog
from emailrelay_receiver.connection.time_limits import TimeLimits
from emailrelay_receiver.connection.wire import ClientWire

_LAST_REPLY = 5.0
"""Seconds that a client has to take the reply that ends its session."""
_MANY_REPLIES = 4096
"""Octets of replies to pipelined commands after which other sessions get their turn."""


class ClientChannel:
    """Reads and writes for the session's task. ``leave`` and ``abort`` end it from outside."""

    __slots__ = ("_replies", "_timer", "left", "limits", "log", "wire")

    def __init__(self, wire: ClientWire, limits: TimeLimits, log: SessionLog) -> None:
        self.wire = wire
        self.limits = limits
        self.log = log
        self.left = False
        """The session was told to end."""
        self._replies = b""
        """The replies to pipelined commands wait here, and are sent together."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, within: float) -> None:
        """Start the one timer of the session, which moves itself; a command starts none."""
        self._timer = self.wire.loop.call_later(within, self._check_time)

    async def line(self, *, secret: bool = False) -> bytes:
        """Wait for a line and take it. ``secret``: keep it out of the log.

        Raises:
            LineTooLong, EOFError, ConnectionError: see ``ClientInput.line``.

        """
        line = self.wire.input.waiting_line()
        if line is None:
            await self.listen(Phase.LISTENING)
            line = await self.wire.input.line()
            self.go_on(Phase.WORKING)
        elif len(self._replies) > _MANY_REPLIES:
            await self.flush()
            await asyncio.sleep(0)
        if self.log.shows_lines:
            self.log.received(line, secret=secret)
        return line

    async def receive(self, take: Callable[[memoryview], bool], most: int) -> None:
        """Give content to ``take``: see ``ClientWire.receive``."""
        await self.listen(Phase.RECEIVING)
        await self.wire.receive(take, most)
        self.go_on(Phase.WRITING)

    def expect(self, take: Callable[[memoryview], bool]) -> None:
        """Begin to receive content: see ``ClientWire.expect``."""
        self.limits.phase = Phase.RECEIVING
        self.limits.progress()
        self.wire.expect(take)

    def rest(self) -> None:
        """Leave the next command to the transport's callback: see ``ClientWire.rest``."""
        self.limits.phase = Phase.LISTENING
        self.limits.progress()
        self.wire.rest()

    async def encrypt(self, context: ssl.SSLContext, first: Reply | None) -> ssl.SSLObject:
        """Send ``first``, if any, and shake hands.

        Octets that arrived in clear before a ``first`` are dropped (CVE-2011-0411).

        Raises:
            EOFError, OSError: see ``ClientWire.encrypt``.

        """
        early = self.wire.stop_reading()
        if first is not None:
            early = b""
            self.reply(first)
            await self.flush()
        self.limits.phase = Phase.ENCRYPTING
        return await self.wire.encrypt(context, early)

    async def listen(self, phase: Phase) -> None:
        """Flush pending replies and begin to wait for the client."""
        if self._replies:
            await self.flush()
        self.limits.phase = phase
        self.limits.progress()

    def go_on(self, phase: Phase) -> None:
        """End a wait for the client.

        Raises:
            EOFError: the session was told to end meanwhile. Octets that arrived do not count, or
                they might be accepted twice.

        """
        self.limits.phase = phase
        if self.left:
            raise EOFError

    def reply(self, reply: Reply) -> None:
        """Append a reply of one line to those that wait."""
        self.reply_line(str(reply))

    def reply_line(self, line: str) -> None:
        """Append a line, given without its end, to the replies that wait."""
        self._replies += f"{line}\r\n".encode()
        if self.log.shows_lines:
            self.log.sent(line)

    def answer(self, reply: Reply) -> None:
        """Send a reply of one line, while none waits and no line is logged."""
        self.wire.write(f"{reply}\r\n".encode())

    async def flush(self) -> None:
        """Send pending replies in one piece, and wait until the client has taken enough of them."""
        if self._replies:
            self.send_replies()
            if self.wire.unsent:
                # A client that does not read is waited for like one that does not speak.
                self.limits.progress()
                phase, self.limits.phase = self.limits.phase, Phase.LISTENING
                await self.wire.drain()
                self.go_on(phase)

    def send_replies(self) -> None:
        """Send pending replies without waiting for the client."""
        replies, self._replies = self._replies, b""
        self.wire.write(replies)

    def leave(self, reply: Reply) -> None:
        """Send a last reply and close the connection, whether or not the client takes it."""
        self.left = True
        self.reply(reply)
        if self.wire.unsent:
            # A client that does not read would keep the connection for ever.
            self.wire.abort()
        else:
            self.wire.write_last(self._replies)
            self.stop_timer()
            self._timer = self.wire.loop.call_later(_LAST_REPLY, self.wire.abort)

    def abort(self) -> None:
        """Drop the connection."""
        self.left = True
        self.wire.abort()

    def stop_timer(self) -> None:
        """Stop the timer that ``begin`` or ``leave`` has started."""
        if self._timer is not None:
            self._timer.cancel()

    def _check_time(self) -> None:
        due, reply = self.limits.due(self.wire.last_content)
        if self.wire.loop.time() < due:
            self._timer = self.wire.loop.call_at(due, self._check_time)
        else:
            self.log.trouble(reply.text)
            self.leave(reply)
