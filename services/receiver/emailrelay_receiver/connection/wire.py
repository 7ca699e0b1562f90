"""A connection to a client: aiosmtpd's protocol class, with its own reading of input and content.

From the protocol class comes the flow control for replies. These are the differences and their
reasons (aiosmtpd 1.4.6):

* A new connection prepares nothing of aiosmtpd's dialogue, and no stream of asyncio: neither would
  be used, and they cost a session more than all of its own objects.
* Octets go into one buffer that all connections share. From there a command line goes to the
  dialogue, content to its message, anything else to ``ClientInput``. aiosmtpd reads content line by
  line into memory.
* A task runs the session's ``serve`` only while there is something to wait for, and not while the
  client is silent. aiosmtpd answers errors of ours with 500 and their text.
* The session learns by reading that the client has gone. aiosmtpd cancels it, and a commit in it.
* TLS starts by ``loop.start_tls``. aiosmtpd uses a private class of asyncio that uvloop lacks.
"""

import asyncio
import ssl
import threading
from asyncio.streams import FlowControlMixin
from collections.abc import Callable
from typing import Any, Protocol, cast

from aiosmtpd.smtp import SMTP

from emailrelay.running_loop import running_loop
from emailrelay.store.base import CHUNK
from emailrelay_receiver.connection.client_input import ClientInput
from emailrelay_receiver.connection.handshake import shake_hands


class WireUser(Protocol):
    """The session, as its connection sees it."""

    def connected(self) -> None:
        """Greet the client: the connection is made."""
        ...

    async def serve(self) -> None:
        """Serve the client as far as its octets have arrived; the connection's task."""
        ...

    def command(self, line: bytes) -> bool:
        """Answer a command at once, or start the task for it; False: let the task read it."""
        ...

    def disconnected(self) -> None:
        """Note that the connection is gone; ``serve`` learns it by reading."""
        ...


_MOST_UNSENT = 16 * 1024
"""Octets of replies in a transport, for a client that does not read, above which we wait for it.

The usual limit of encrypted transports is 512 KiB.
"""

_THREAD = threading.local()


def _buffer() -> memoryview:
    """Return the buffer that all connections of a thread, and so of an event loop, share.

    Between its filling and its use nothing else runs. So an idle connection costs no buffer, and a
    large content is copied once less.
    """
    found: memoryview | None = getattr(_THREAD, "buffer", None)
    if found is None:
        found = _THREAD.buffer = memoryview(bytearray(CHUNK))
    return found


class Inlet(asyncio.BufferedProtocol):
    """The transport's side of a connection.

    It is a protocol of its own, because uvloop does not let an ``asyncio.Protocol`` give a buffer.
    """

    __slots__ = ("_buffer", "_wire")

    def __init__(self, wire: "ClientWire") -> None:
        self._wire = wire
        self._buffer = _buffer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass it on."""
        self._wire.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - it has one size
        """Give room for the next octets."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass the octets on; their memory is used again."""
        self._wire.received(self._buffer[:nbytes])

    def eof_received(self) -> bool:
        """Pass it on."""
        return self._wire.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._wire.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._wire.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._wire.resume_writing()


class ClientWire(SMTP):
    """One connection to a client."""

    def __init__(self, user: WireUser) -> None:
        """Wait for ``inlet`` to be connected."""
        self.loop = running_loop()
        FlowControlMixin.__init__(self, self.loop)  # no other constructor: see above
        self.input = ClientInput(self.loop)
        self.inlet = Inlet(self)
        """The protocol for the transport."""
        self.heard_anything = False
        self.over = False
        """The session has ended; nothing more is read, and no task starts."""
        self.lost = False
        """The connection is gone, and its descriptor with it."""
        self.last_content = 0.0
        """The time at which content last arrived, by the loop's clock."""
        self._pause: asyncio.Future[None] | None = None
        self._user = user
        self._link: asyncio.Transport
        self._below: asyncio.Transport | None = None
        """The transport that carries ``_link``, if that one encrypts."""
        self._encrypted = False
        self._take: Callable[[memoryview], bool] | None = None
        self._taken: asyncio.Future[None] | None = None
        self._serving: asyncio.Task[None] | None = None
        """The task at work, kept here, as the loop keeps no task alive."""

    # For the session.

    def start(self) -> None:
        """Start the session's task, unless it is at work or the session is over."""
        if self._serving is None and not self.over:
            self._serving = self.loop.create_task(self._user.serve())

    def rest(self) -> None:
        """Need no task, until the client's next command: the last act of one that goes on."""
        self._serving = None

    def info(self, name: str) -> Any:
        """Give what the transport knows: ``peername``, ``socket``, ``ssl_object``."""
        return self._link.get_extra_info(name)

    @property
    def unsent(self) -> int:
        """Octets of replies that the client has not taken yet."""
        below = 0 if self._below is None else self._below.get_write_buffer_size()
        return self._link.get_write_buffer_size() + below

    @property
    def lingers(self) -> bool:
        """True if the end of the connection depends on the client, also after ``close``.

        Either it has not taken all replies, or it has not said that the encryption ends.
        """
        return not self.lost and (self._below is not None or self.unsent > 0)

    def write(self, octets: bytes) -> None:
        """Send octets in one piece.

        Raises:
            ConnectionResetError: the connection is closed.

        """
        if self._link.is_closing():
            raise ConnectionResetError  # uvloop would not notice
        self._link.write(octets)

    def write_last(self, octets: bytes) -> None:
        """Send octets and close the connection behind them, unless it is closed already."""
        if not self._link.is_closing():
            self._link.write(octets)
            self._link.close()

    async def drain(self) -> None:
        """Wait until the client has taken enough of the replies."""
        # asyncio has no public name for it beside those of its streams, and the type stubs none.
        await self._drain_helper()  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]

    async def pause(self, seconds: float) -> None:
        """Let time pass; less if the connection is lost, or after ``end_pause``.

        A client that sends no more can still get replies, so it waits like any other.
        """
        if not self.lost:
            self._pause = self.loop.create_future()
            await asyncio.wait((self._pause,), timeout=seconds)

    def end_pause(self) -> None:
        """End a ``pause``, if there is one."""
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)

    def close(self) -> None:
        """Close the connection when everything is sent."""
        self._link.close()

    def abort(self) -> None:
        """Drop the connection, with anything that is not sent."""
        self._link.abort()

    async def receive(self, take: Callable[[memoryview], bool], most: int) -> None:
        """Give ``take`` the octets that arrive until it returns False, or nothing more can arrive.

        Those in ``input`` come first, all of them, in pieces of at most ``most`` octets.

        Raises:
            EOFError: the client has gone, and ``input`` is empty.
            ConnectionError: the connection broke.
            Exception: raised by ``take``.

        """
        if self._taken is None:
            # None may be left behind: the octets that arrive next do not go through ``input``.
            while early := self.input.take(most):
                if not take(memoryview(early)):
                    return
        taken = self._taken or self.expect(take)
        try:
            await taken
        finally:
            self._take = self._taken = None

    def expect(self, take: Callable[[memoryview], bool]) -> asyncio.Future[None]:
        """Begin to ``receive``, when no octets wait: the task starts when all has been taken."""
        self._take, self._taken = take, self.loop.create_future()
        self.last_content = self.loop.time()
        if self.input.ended:
            self._end(None)
        return self._taken

    def stop_reading(self) -> bytes:
        """Read no more from the client; return the octets that have arrived."""
        octets = self.input.take_all()
        self._link.pause_reading()
        return octets

    async def encrypt(self, context: ssl.SSLContext, early: bytes) -> ssl.SSLObject:
        """Shake hands, after ``stop_reading``. ``early`` are octets of the handshake.

        Raises:
            EOFError: the client has gone.
            OSError: the handshake failed or took too long.

        """
        self._encrypted = True
        try:
            tls = await shake_hands(self._link, self.inlet, context, early)
        except BaseException:
            # After some failures ``connection_lost`` is never called.
            self._link.abort()
            self.lost = True
            raise
        if tls is None:
            raise EOFError
        self._link, self._below = tls, self._link
        tls.set_write_buffer_limits(_MOST_UNSENT)
        self.input.read_from(tls)
        return cast("ssl.SSLObject", tls.get_extra_info("ssl_object"))

    # For the inlet.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session."""
        # TCP and unix sockets go both ways; the transports of uvloop derive from no class of
        # asyncio.
        self._link = cast("asyncio.Transport", transport)
        self._link.set_write_buffer_limits(_MOST_UNSENT)
        self.input.read_from(self._link)
        self._user.connected()

    def received(self, octets: memoryview) -> None:
        """Pass octets on to where they belong."""
        self.heard_anything = True
        if self._take is not None and self._taken is not None:
            self._pass_content(self._take, self._taken, octets)
            return
        if self.over:
            return
        line = None if self._serving else self.input.whole_line(octets)
        if line is None or not self._user.command(line):
            self.input.feed(octets)
            self.start()

    def ended(self) -> bool:
        """Note that the client sends no more; return whether it can still get replies."""
        self._end(None)
        return not self._encrypted

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end of the connection."""
        self.lost = True
        self.end_pause()
        self._end(error)
        FlowControlMixin.connection_lost(self, error)  # aiosmtpd's own would cancel the task
        self._user.disconnected()

    # Inside.

    def _pass_content(
        self, take: Callable[[memoryview], bool], taken: asyncio.Future[None], octets: memoryview
    ) -> None:
        self.last_content = self.loop.time()
        try:
            if take(octets):
                return
        except Exception as error:  # noqa: BLE001 - the session's task raises it
            taken.set_exception(error)
        else:
            taken.set_result(None)
        self._take = None
        self.start()

    def _end(self, error: Exception | None) -> None:
        self.input.end(error)
        if self._take is not None and self._taken is not None:
            self._take = None
            self._taken.set_result(None)
        self.start()
