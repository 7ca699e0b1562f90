"""The channel by which a dispatcher hands due messages to the workers of its pool.

It is a pipe with records of one size. The kernel writes up to ``PIPE_BUF`` octets whole or not at
all (POSIX), so several records go together, and each record reaches one worker. A worker reads no
more than it has tasks that wait. A hint may be lost with a worker that dies: that costs time, never
mail.

Work in large batches is cheaper, so the first worker reads alone as long as it keeps up. The others
stand by. A worker at its limit calls one of them: no task of it is free, or it uses a processor all
the time. It helps until the pipe is empty. The dispatcher calls one when a hint was left unread for
``_PATIENCE``, since the first worker may hang. On a busy machine any worker waits for a processor,
so with a shorter limit a second one would be called for nothing.
"""

import asyncio
import contextlib
import fcntl
import os
import select
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from emailrelay import linux
from emailrelay.queue_id import QueueId
from emailrelay.running_loop import running_loop

_RECORD = 128
"""Octets of a record. An id has at most 60 digits and dots."""
TOGETHER = select.PIPE_BUF // _RECORD
"""Hints that are written in one step."""
_SHARE = 8
"""Hints that a worker reads in one step at most, so that others get theirs."""
_PIPE = 2 * select.PIPE_BUF
"""Octets of unread hints. A scan finds their messages again and causes a second hint for each."""
_PATIENCE = 0.1
"""Seconds that a hint may stay unread before the dispatcher calls a further worker."""
_LOOK = 0.02
"""Seconds between two looks of a worker at its own load."""
_LIMIT = 0.9
"""Share of a processor that a worker uses at its limit."""
_UNREAD = struct.Struct("=i")
_FORCED = b"!"
"""Begins the record of a message that is to be tried before its time."""


class Hint(NamedTuple):
    """A message that a worker should try to claim. The claim decides whether it can be had."""

    message: QueueId
    forced: bool = False
    """True: try it before its time."""


class HintChannel:
    """A pipe that the dispatcher writes and all workers read. Make it before they are forked."""

    def __init__(self) -> None:
        """Open the pipe.

        Raises:
            OSError: the process has no descriptors left.

        """
        self._reading, self._writing = os.pipe()
        self._called, self._calling = os.pipe()
        """Has an octet when a worker that stands by is to help."""
        for end in (self._reading, self._writing, self._called, self._calling):
            os.set_blocking(end, False)
        linux.limit_pipe(self._writing, _PIPE)
        self._waiting: deque[asyncio.Future[Hint]] = deque()
        """The tasks of this process that wait for a hint."""
        self.no_room: Callable[[QueueId], None] = _leave_to_scans
        """Called with a message that is given back while the channel is full."""
        self._stands_by = False
        self._reads = True
        """False: this worker waits until it is called."""
        self._sent = 0
        """Octets that the dispatcher has written."""
        self._look: asyncio.TimerHandle | None = None
        self._looked = self._used = 0.0
        """The time of this worker's latest look at its load, and the CPU time used by then."""

    def stand_by(self) -> None:
        """Let this process read only while others do not keep up; before the first ``receive``."""
        self._stands_by, self._reads = True, False

    async def send(self, hints: Sequence[Hint]) -> None:
        """Send up to ``TOGETHER`` hints; wait while the channel is full."""
        records = b"".join(map(_record, hints))
        while True:
            try:
                os.write(self._writing, records)
            except BlockingIOError:
                await _writable(self._writing)
            else:
                self._sent += len(records)
                self._look_soon()
                return

    def _look_soon(self) -> None:
        if self._look is None:
            self._look = running_loop().call_later(_PATIENCE, self._look_for, self._sent)

    def _look_for(self, sent: int) -> None:
        """Call a worker for help if some of the first ``sent`` octets are unread."""
        self._look = None
        unread = _unread(self._reading)
        if self._sent - unread < sent:
            self._call()
        if unread:
            self._look_soon()

    def _call(self) -> None:
        """Call one worker that stands by, if any waits for work."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._calling, b"\0")

    async def receive(self) -> Hint:
        """Wait for the next hint. Any number of tasks may wait.

        A cancelled call takes no hint.
        """
        if not self._waiting:
            # A busy worker has one free task at a time: to listen for it costs four system calls.
            if self._reads and (found := self._taken(1)):
                self._look_at_load()
                return found[0]
            self._listen()
        hint: asyncio.Future[Hint] = running_loop().create_future()
        self._waiting.append(hint)
        try:
            return await hint
        except asyncio.CancelledError:
            if hint in self._waiting:
                self._waiting.remove(hint)
                self._rest()
            elif not hint.cancelled():  # it came at the same time
                self._give_back(hint.result())
            raise

    def _listen(self) -> None:
        if self._reads:
            running_loop().add_reader(self._reading, self._read)
        else:
            running_loop().add_reader(self._called, self._help)

    def _help(self) -> None:
        try:
            os.read(self._called, select.PIPE_BUF)  # all calls: one worker helps at a time
        except BlockingIOError:  # another worker was quicker
            return
        running_loop().remove_reader(self._called)
        self._reads = True
        self._listen()

    def _read(self) -> None:
        """Read a hint for each task that waits, as far as there are any."""
        for hint in self._taken(min(len(self._waiting), _SHARE)):
            self._give(hint)
        self._look_at_load()
        if self._waiting and not self._reads:
            self._listen()
        self._rest()

    def _taken(self, most: int) -> list[Hint]:
        """Read up to so many hints. With fewer, a worker that stands by has helped enough."""
        try:
            records = os.read(self._reading, most * _RECORD)
        except BlockingIOError:  # another worker was quicker, or there are none
            records = b""
        if len(records) < most * _RECORD and self._stands_by:
            running_loop().remove_reader(self._reading)
            self._reads = False
        return [
            _hint(records[start : start + _RECORD]) for start in range(0, len(records), _RECORD)
        ]

    def _look_at_load(self) -> None:
        """Call a worker for help if this one is at its limit, and has left hints."""
        now = running_loop().time()
        passed = now - self._looked
        if passed < _LOOK:
            return
        used = time.process_time()
        at_limit = not self._waiting or used - self._used > _LIMIT * passed
        self._looked, self._used = now, used
        if at_limit and _unread(self._reading):
            self._call()

    def _give(self, hint: Hint) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(hint)
                return
        self._give_back(hint)  # tasks were cancelled at the same time

    def _give_back(self, hint: Hint) -> None:
        try:
            os.write(self._writing, _record(hint))
        except BlockingIOError:
            self.no_room(hint.message)
        else:
            self._call()

    def _rest(self) -> None:
        """Read no more hints while no task waits: another worker takes them."""
        if not self._waiting:
            running_loop().remove_reader(self._reading if self._reads else self._called)

    def close(self) -> None:
        """Close the channel in this process."""
        if self._look is not None:
            self._look.cancel()
        for descriptor in (self._reading, self._writing, self._called, self._calling):
            os.close(descriptor)


def _leave_to_scans(_message: QueueId) -> None:
    """Do nothing: a scan finds the message."""


def _unread(reading: int) -> int:
    """Return the octets in a pipe."""
    return int(_UNREAD.unpack(fcntl.ioctl(reading, termios.FIONREAD, bytes(_UNREAD.size)))[0])


def _record(hint: Hint) -> bytes:
    record = ((_FORCED if hint.forced else b"") + hint.message.encode()).ljust(_RECORD)
    if len(record) > _RECORD:
        raise ValueError(f"{hint.message}: the id is too long")
    return record


def _hint(record: bytes) -> Hint:
    text = record.rstrip()
    return Hint(QueueId(text.removeprefix(_FORCED).decode()), text.startswith(_FORCED))


async def _writable(descriptor: int) -> None:
    loop, ready = running_loop(), asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)
