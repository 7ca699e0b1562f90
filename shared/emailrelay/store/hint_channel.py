"""The channel by which a dispatcher hands due messages to the workers of its pool.

It is a pipe with records of one size. The kernel writes each record whole or not at all (POSIX: up
to ``PIPE_BUF`` octets), and each record reaches one worker. A hint may be lost with a worker that
dies: that costs time, never mail.
"""

import asyncio
import os
from typing import NamedTuple

from emailrelay.queue_id import QueueId

_RECORD = 128
"""Octets of a record. An id has at most 60 digits and dots."""
_FORCED = b"!"
"""Begins the record of a message that is to be tried before its time."""


class Hint(NamedTuple):
    """A message that a worker should try to claim. The claim decides whether it can be had."""

    message: QueueId
    forced: bool = False
    """Whether to try it before its time."""


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
        self._turn: asyncio.Lock | None = None

    async def send(self, hint: Hint) -> None:
        """Send a hint; wait while the channel is full."""
        record = ((_FORCED if hint.forced else b"") + hint.message.encode()).ljust(_RECORD)
        if len(record) > _RECORD:
            raise ValueError(f"{hint.message}: the id is too long")
        while True:
            try:
                os.write(self._writing, record)
            except BlockingIOError:
                await _ready(self._writing, write=True)
            else:
                return

    async def receive(self) -> Hint:
        """Wait for the next hint. Any number of tasks may wait.

        A cancelled call takes no hint.
        """
        if self._turn is None:  # a lock belongs to the loop of the process that waits
            self._turn = asyncio.Lock()
        async with self._turn:
            while True:
                try:
                    record = os.read(self._reading, _RECORD)
                except BlockingIOError:
                    await _ready(self._reading, write=False)
                    continue
                text = record.rstrip()
                return Hint(QueueId(text.removeprefix(_FORCED).decode()), text.startswith(_FORCED))

    def close(self) -> None:
        """Close both ends in this process."""
        os.close(self._reading)
        os.close(self._writing)


async def _ready(descriptor: int, *, write: bool) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    )
    add(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        remove(descriptor)
