"""A client's wait for the verdict of the filters: a locked file decides who ends it.

The receiver makes ``.waiting/ID`` before the commit and keeps it locked; the file has the ``ack``
and the name of the receiver's socket. The process that settles the message writes the reply into
the file and renames it to ``ID.answer``; a receiver that gives up unlinks it. Exactly one of the
two succeeds, and the other one obeys: a refused message is not kept, and a message that was
answered 250 is. A wait with a free lock belongs to a dead receiver.
"""

import contextlib
import os
import time

from emailrelay.ack import Ack
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.store.spool.disk import file_octets, files, locks, regular_files
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.message.client_wait import Wait, Waiter
from emailrelay.store.spool.message.spool import Spool

_ANSWER = ".answer"
_LONGEST = 4096
"""Octets of the file that are read; a few lines of SMTP."""
_UNREADABLE = Reply(451, "4.3.0 the answer of the filters cannot be read")
_TRIES, _MOMENT = 100, 0.0005
"""Tries to make a file again that a sweep has removed, and the seconds between them."""


class FilterWaiter(Waiter):
    """See ``Waiter``."""

    ack = Ack.FILTERED

    def __init__(self, path: Location, socket: str) -> None:
        """Make the file, which names the receiver's ``socket``.

        Raises:
            OSError: it cannot be made.

        """
        super().__init__()
        self._path = path
        self._descriptor = _create(path)
        try:
            file_octets.write_all(self._descriptor, f"{self.ack} {socket}\n".encode())
        except OSError:
            files.remove(path)
            locks.unlock_and_close(self._descriptor)
            raise

    def _hear(self, answer: str) -> None:  # noqa: ARG002 - the file has it
        self._look()

    def _look(self) -> None:
        if self._reply is not None:
            return
        try:  # once removed, the answer is this process's alone
            files.take_away(self._path.plus(_ANSWER))
        except OSError:  # there is none, or a member of the group has put anything there
            return
        octets = os.pread(self._descriptor, _LONGEST, 0)
        # A process that died before its rename has left a line, too: the last line counts.
        replies = octets.decode(errors="replace").splitlines()[1:]
        if not replies:
            return  # there is no answer: a member of the group made that name
        try:
            self._reply = Reply.parse(replies[-1])
        except ValueError:  # the message may be gone: only its client still has it for certain
            self._reply = _UNREADABLE

    def _end(self) -> None:
        try:
            files.take_away(self._path)
        except FileNotFoundError:
            self._look()
            if self._reply is None and files.is_there(self._path.plus(_ANSWER)):
                self._reply = _UNREADABLE  # it was told, and cannot be taken away

    def close(self) -> None:
        """See ``Waiter.close``."""
        if self._reply is None:
            files.remove(self._path)
            files.remove(self._path.plus(_ANSWER))
        # Without a name no process can look at the lock.
        os.close(self._descriptor)


def _create(path: Location) -> int:
    """Create and lock the file; a sweep may take it for a dead client's and remove it."""
    for _ in range(_TRIES):
        with contextlib.suppress(FileExistsError):
            descriptor = locks.create_locked(path)
            if descriptor is not None:
                return descriptor
        time.sleep(_MOMENT)
    raise BlockingIOError(
        f"{path}: a recovery sweep has removed it {_TRIES} times; try again later"
    )


class FilterWait(Wait):
    """See ``Wait``."""

    ack = Ack.FILTERED

    def __init__(self, spool: Spool, message: QueueId, descriptor: int, socket: str) -> None:
        """Take over the open file."""
        self._spool, self._message = spool, message
        self._path = spool.directories.waiting / message
        self._descriptor, self._socket = descriptor, socket

    def stands(self) -> bool:
        """See ``Wait.stands``."""
        return locks.is_named(self._descriptor, self._path) and _lives(self._descriptor, self._path)

    async def tell(self, reply: Reply) -> bool:
        """See ``Wait.tell``."""
        if not _lives(self._descriptor, self._path):
            return False
        file_octets.write_all(self._descriptor, f"{reply}\n".encode(errors="replace"))
        try:
            files.rename(self._path, self._path.plus(_ANSWER))
        except FileNotFoundError:
            return False
        self._spool.announcer.tell(self._socket, f"{self._message} {reply}")
        return True

    def close(self) -> None:
        """See ``Wait.close``."""
        os.close(self._descriptor)


def look_for(spool: Spool, message: QueueId) -> FilterWait | None:
    """Look for a living client who waits for the filters."""
    path = spool.directories.waiting / message
    opened = regular_files.open_with_status(path, appends=True)
    if opened is None:
        return None
    descriptor, status = opened
    try:
        if _lives(descriptor, path):
            line = file_octets.read_known(descriptor, status.st_size).decode(errors="replace")
            ack, _, socket = line.partition("\n")[0].partition(" ")
            if ack == Ack.FILTERED:  # else it was not written by this program
                wait = FilterWait(spool, message, descriptor, socket)
                descriptor = -1
                return wait
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return None


def _lives(descriptor: int, path: Location) -> bool:
    """Tell if a waiter's process lives, which its lock tells; a dead one's file is removed."""
    if not locks.try_lock(descriptor):
        return True
    if locks.is_named(descriptor, path):
        files.remove(path)
    locks.unlock(descriptor)
    return False
