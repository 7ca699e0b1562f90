"""The channel by which a dispatcher hands due messages to the workers of its pool.

It is a pipe with records of one size. The kernel writes up to ``PIPE_BUF`` octets whole or not at
all (POSIX), so several records go together, and each record reaches one worker. A worker reads no
more than it has tasks that wait. A hint may be lost with a worker that dies: that costs time, never
mail.
"""

import asyncio
import contextlib
import os
import select
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from emailrelay.queue_id import QueueId
from emailrelay.running_loop import running_loop

_RECORD = 128
"""Octets of a record. An id has at most 60 digits and dots."""
TOGETHER = select.PIPE_BUF // _RECORD
"""Hints that are written in one step."""
_SHARE = 8
"""Hints that a worker reads in one step at most, so that others get theirs."""
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
        for end in (self._reading, self._writing):
            os.set_blocking(end, False)
        self._waiting: deque[asyncio.Future[Hint]] = deque()
        """The tasks of this process that wait for a hint."""

    async def send(self, hints: Sequence[Hint]) -> None:
        """Send up to ``TOGETHER`` hints; wait while the channel is full."""
        records = b"".join(map(_record, hints))
        while True:
            try:
                os.write(self._writing, records)
            except BlockingIOError:
                await _writable(self._writing)
            else:
                return

    async def receive(self) -> Hint:
        """Wait for the next hint. Any number of tasks may wait.

        A cancelled call takes no hint.
        """
        loop = running_loop()
        hint: asyncio.Future[Hint] = loop.create_future()
        if not self._waiting:
            loop.add_reader(self._reading, self._read)
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

    def _read(self) -> None:
        """Read a hint for each task that waits, as far as there are any."""
        try:
            records = os.read(self._reading, min(len(self._waiting), _SHARE) * _RECORD)
        except BlockingIOError:  # another worker was quicker
            return
        for start in range(0, len(records), _RECORD):
            self._give(_hint(records[start : start + _RECORD]))
        self._rest()

    def _give(self, hint: Hint) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(hint)
                return
        self._give_back(hint)  # tasks were cancelled at the same time

    def _give_back(self, hint: Hint) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it is lost, and a scan finds the message
            os.write(self._writing, _record(hint))

    def _rest(self) -> None:
        """Read no more hints while no task waits: another worker takes them."""
        if not self._waiting:
            running_loop().remove_reader(self._reading)

    def close(self) -> None:
        """Close both ends in this process."""
        os.close(self._reading)
        os.close(self._writing)


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
