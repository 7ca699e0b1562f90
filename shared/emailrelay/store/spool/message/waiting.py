"""Clients that wait for filters or delivery of their message (``ack`` other than ``stored``).

The receiver makes ``.waiting/ID`` before the commit and keeps it locked; the file has the ``ack``
and the name of the receiver's socket. The process that settles the message writes the reply into
the file and renames it to ``ID.answer``; a receiver that gives up unlinks it. Exactly one of the
two succeeds, and the other one obeys. A wait with a free lock belongs to a dead receiver. A line
about the final dot, which is written before the dot is sent, tells a receiver that gives up that
the message may be delivered.
"""

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass, field

from emailrelay.ack import Ack
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply, one_line
from emailrelay.store.spool.disk import files, locks
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.wake.hint_socket import HintSocket

_LOOK = 1.0
"""Seconds between looks for an answer, in case its hint was lost."""
_SOCKET, _ANSWER = "answers", ".answer"
_AT_DOT = "dot "
"""Begins the line with the server to which the final dot is sent next."""
_TRIES, _MOMENT = 100, 0.0005
"""Tries to make a file again that a sweep has removed, and the seconds between them."""


@dataclass(slots=True)
class Waiter:
    """One client's wait, on the receiver's side."""

    path: Location
    ack: Ack
    descriptor: int
    hinted: asyncio.Event = field(default_factory=asyncio.Event)
    doubt: str = ""
    """After giving up: the server to which the final dot may be on its way, if any."""
    _reply: Reply | None = None

    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """Wait for the answer; without one, give up after ``within`` seconds or when ``gone``."""
        loop = asyncio.get_running_loop()
        gone = gone or loop.create_future()
        gone.add_done_callback(self._look)
        try:
            end = loop.time() + within
            while (reply := self._read()) is None and (rest := end - loop.time()) > 0:
                if gone.done():
                    break
                self.hinted.clear()
                timer = loop.call_later(min(rest, _LOOK), self.hinted.set)
                try:
                    await self.hinted.wait()
                finally:
                    timer.cancel()
        finally:
            gone.remove_done_callback(self._look)
        return reply or self.give_up()

    def _look(self, _gone: asyncio.Future[None]) -> None:
        self.hinted.set()

    def give_up(self) -> Reply | None:
        """End the wait; return the reply if it came before."""
        if self._reply is not None:
            return self._reply
        try:
            files.take_away(self.path)
        except FileNotFoundError:
            return self._read()
        # Read after the unlink: the sender of a later dot sees that, or names the duplicate itself.
        lines = files.read_all(self.descriptor).decode(errors="replace").splitlines()
        dots = [line.removeprefix(_AT_DOT) for line in lines if line.startswith(_AT_DOT)]
        self.doubt = dots[-1] if dots else ""
        return None

    def _read(self) -> Reply | None:
        try:  # once removed, the answer is this process's alone
            files.take_away(self.path.plus(_ANSWER))
        except FileNotFoundError:
            return None
        # A process that died before its rename has left a line, too: the last line counts.
        lines = files.read_all(self.descriptor).decode(errors="replace").splitlines()
        self._reply = Reply.parse(lines[-1])
        return self._reply

    def close(self) -> None:
        """Remove the files of the wait."""
        if self._reply is None:
            files.remove(self.path)
            files.remove(self.path.plus(_ANSWER))
        # Without a name no process can look at the lock.
        os.close(self.descriptor)


class Waiters:
    """All waits of this process, and the socket for hints of answers."""

    def __init__(self, spool: Spool) -> None:
        """Nothing is opened before the first client waits."""
        self._spool = spool
        self._waiting: dict[QueueId, Waiter] = {}
        self._hints: HintSocket | None = None

    def expect(self, message: QueueId, ack: Ack) -> Waiter:
        """Announce, before the commit, that a client waits for this message.

        Raises:
            OSError: it cannot be announced.

        """
        if self._hints is None:
            hints = HintSocket(self._spool.directories.wake, _SOCKET, self._hint)
            hints.open()
            self._hints = hints
        path = self._spool.directories.waiting / message
        descriptor = _create(path)
        try:
            files.write_all(descriptor, f"{ack} {self._hints.name}\n".encode())
        except OSError:
            files.remove(path)
            locks.unlock_and_close(descriptor)
            raise
        self._waiting[message] = Waiter(path, ack, descriptor)
        return self._waiting[message]

    def _hint(self, message: QueueId, _due: float) -> None:
        waiter = self._waiting.get(message)
        if waiter is not None:
            waiter.hinted.set()

    def end(self, message: QueueId) -> None:
        """Forget a client that was answered or has given up."""
        waiter = self._waiting.pop(message, None)
        if waiter is not None:
            waiter.close()

    def close(self) -> None:
        """End all waits."""
        for message in list(self._waiting):
            self.end(message)
        if self._hints is not None:
            self._hints.close()


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


@dataclass(slots=True)
class Wait:
    """One client's wait, on the side of the process that settles; open until ``close``."""

    path: Location
    descriptor: int
    status: os.stat_result
    ack: Ack
    _hints: str

    def stands(self) -> bool:
        """Tell if the client still waits."""
        try:
            named = os.path.samestat(files.status_of(self.path), self.status)
        except FileNotFoundError:
            return False
        return named and _lives(self.descriptor, self.path)

    def at_dot(self, peer: str) -> None:
        """Note that the final dot is sent to ``peer`` next."""
        self._write(f"{_AT_DOT}{one_line(peer)}")

    def _write(self, line: str) -> None:
        files.write_all(self.descriptor, f"{line}\n".encode(errors="replace"))

    def tell(self, spool: Spool, message: QueueId, reply: Reply) -> bool:
        """Answer the client; False if it does not wait any more."""
        if not _lives(self.descriptor, self.path):
            return False
        self._write(str(reply))
        try:
            files.rename(self.path, self.path.plus(_ANSWER))
        except FileNotFoundError:
            return False
        spool.announcer.announce_to(self._hints, message)
        return True

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


def look_for(spool: Spool, message: QueueId) -> Wait | None:
    """Look for a living client who waits for a message."""
    path = spool.directories.waiting / message
    opened = files.open_with_status(path, appends=True)
    if opened is None:
        return None
    descriptor, status = opened
    try:
        if _lives(descriptor, path):
            line = files.read_known(descriptor, status.st_size).decode(errors="replace")
            ack, _, socket = line.partition("\n")[0].partition(" ")
            wait = Wait(path, descriptor, status, Ack(ack), socket)
            descriptor = -1
            return wait
    except ValueError:  # not written by this program
        pass
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
