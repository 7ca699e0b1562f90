"""Calls a function when the server of a connection makes no progress within a time limit."""

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable

from emailrelay import linux
from emailrelay_forwarder.session.stall import Stall


class StallTimer:
    """The limit of one connection. One timer of the loop serves many waits, one after another."""

    __slots__ = ("_give_up", "_loop", "_rings", "_sending", "_stall", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, give_up: Callable[[float], None]) -> None:
        """Take the loop, and the function to call with the limit (seconds) that has passed."""
        self._loop = loop
        self._give_up = give_up
        self._stall: Stall | None = None
        """The current wait; None: there is none."""
        self._sending: asyncio.WriteTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings = 0.0
        """The time of the timer. One that is due at once cannot tell it in uvloop."""

    def begin(self, limit: float, sending: asyncio.WriteTransport | None) -> None:
        """Begin a wait of ``limit`` seconds; octets that leave ``sending`` count as progress."""
        self._stall = stall = Stall(limit, self._loop.time(), sending=sending is not None)
        self._sending = sending
        if self._timer is None or self._rings > stall.look_at:
            self._look_at(stall.look_at)

    def end(self) -> None:
        """End the current wait."""
        self._stall = None

    def cancel(self) -> None:
        """End everything: the connection is gone."""
        self._stall = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings = self._loop.call_at(due, self._look), due

    def _look(self) -> None:
        """Give up if the limit has passed; else look again when it may have."""
        self._timer, stall, now = None, self._stall, self._loop.time()
        if stall is None:
            return
        if now < stall.look_at or not stall.over(now, self._unsent):
            self._look_at(stall.look_at)
        else:
            self._give_up(stall.limit)

    def _unsent(self) -> int:
        return 0 if self._sending is None else unsent(self._sending)


def unsent(transport: asyncio.WriteTransport) -> int:
    """Return the octets that the peer has not acknowledged: those of the loop and of the kernel."""
    if transport.is_closing():
        return 0
    ours = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if not linux.AVAILABLE or sock is None or sock.fileno() < 0:
        return ours
    # SIOCOUTQ, tcp(7) and unix(7).
    kernels = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return ours + int.from_bytes(kernels, sys.byteorder)
