"""Clients who wait for what becomes of their message (``ack`` other than ``stored``).

The receiver makes ``.waiting/ID`` before the commit and keeps it locked; it tells the ``ack`` and the
socket to ring at. Whoever settles the message writes the reply into it and renames it to
``ID.answer``; a receiver that gives up unlinks it. Exactly one of the two succeeds, and the loser
obeys. A waiter whose lock is free is dead. Whoever is about to send the final dot writes that into it
too, so that a receiver that gives up knows that the message may be delivered even so.
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
"""Seconds between looks for an answer whose ring was lost."""
_EAR, _ANSWER = "answers", ".answer"
_AT_DOT = "dot "
"""Begins the line that names the server to which the final dot is about to go."""
_TRIES, _MOMENT = 100, 0.0005
"""How often, and after how many seconds, a marker is made again that a sweep took away."""


@dataclass(slots=True)
class Waiter:
    """One client's wait, on the receiver's side."""

    path: Location
    ack: Ack
    descriptor: int
    rung: asyncio.Event = field(default_factory=asyncio.Event)
    doubt: str = ""
    """After giving up: the server to which the final dot may be on its way, if any."""
    _reply: Reply | None = None

    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """Wait for the answer; after ``within`` seconds, or once ``gone``, give up unless it has just come."""
        loop = asyncio.get_running_loop()
        gone = gone or loop.create_future()
        gone.add_done_callback(self._look)
        try:
            end = loop.time() + within
            while (reply := self._read()) is None and (rest := end - loop.time()) > 0:
                if gone.done():
                    break
                self.rung.clear()
                timer = loop.call_later(min(rest, _LOOK), self.rung.set)
                try:
                    await self.rung.wait()
                finally:
                    timer.cancel()
        finally:
            gone.remove_done_callback(self._look)
        return reply or self.give_up()

    def _look(self, _gone: asyncio.Future[None]) -> None:
        self.rung.set()

    def give_up(self) -> Reply | None:
        """Take the wait back; the reply if somebody was faster."""
        if self._reply is not None:
            return self._reply
        try:
            files.take_away(self.path)
        except FileNotFoundError:
            return self._read()
        # Read after the unlink: a dot noted later is not sent, or its sender names it.
        lines = files.read_all(self.descriptor).decode(errors="replace").splitlines()
        dots = [line.removeprefix(_AT_DOT) for line in lines if line.startswith(_AT_DOT)]
        self.doubt = dots[-1] if dots else ""
        return None

    def _read(self) -> Reply | None:
        if not files.is_there(self.path.plus(_ANSWER)):
            return None
        # Who died between writing and renaming has left a line too: the last one was renamed.
        lines = files.read_all(self.descriptor).decode(errors="replace").splitlines()
        self._reply = Reply.parse(lines[-1])
        return self._reply

    def close(self) -> None:
        """Remove what is left."""
        if self._reply is None:
            files.remove(self.path)
        files.remove(self.path.plus(_ANSWER))
        locks.unlock_and_close(self.descriptor)


class Waiters:
    """All who wait in this process, and the socket at which answers ring."""

    def __init__(self, spool: Spool) -> None:
        """Nothing is opened before the first client waits."""
        self._spool = spool
        self._waiting: dict[QueueId, Waiter] = {}
        self._ear: HintSocket | None = None

    def expect(self, message: QueueId, ack: Ack) -> Waiter:
        """Announce, before the commit, that a client waits for this message.

        Raises:
            OSError: it cannot be announced.

        """
        if self._ear is None:
            ear = HintSocket(self._spool.directories.wake, _EAR, self._ring)
            ear.open()
            self._ear = ear
        path = self._spool.directories.waiting / message
        descriptor = _create(path)
        try:
            files.write_all(descriptor, f"{ack} {self._ear.name}\n".encode())
        except OSError:
            files.remove(path)
            locks.unlock_and_close(descriptor)
            raise
        self._waiting[message] = Waiter(path, ack, descriptor)
        return self._waiting[message]

    def _ring(self, message: QueueId, _due: float) -> None:
        waiter = self._waiting.get(message)
        if waiter is not None:
            waiter.rung.set()

    def end(self, message: QueueId) -> None:
        """Forget a client who has been answered or has given up."""
        waiter = self._waiting.pop(message, None)
        if waiter is not None:
            waiter.close()

    def close(self) -> None:
        """End all waits."""
        for message in list(self._waiting):
            self.end(message)
        if self._ear is not None:
            self._ear.close()


def _create(path: Location) -> int:
    """Create and lock the marker; a sweep that takes it for a dead client's removes it at once."""
    for _ in range(_TRIES):
        with contextlib.suppress(FileExistsError):
            descriptor = locks.create_locked(path)
            if descriptor is not None:
                return descriptor
        time.sleep(_MOMENT)
    raise BlockingIOError(f"{path} was swept away again and again")


@dataclass(slots=True)
class Wait:
    """One client's wait, on the side of whoever settles the message; open until ``close``."""

    path: Location
    descriptor: int
    ack: Ack
    _ear: str

    def stands(self) -> bool:
        """Tell if the client still waits."""
        return locks.is_named(self.descriptor, self.path) and _lives(self.descriptor, self.path)

    def at_dot(self, peer: str) -> None:
        """Note that the final dot is about to be sent to ``peer``."""
        self._write(f"{_AT_DOT}{one_line(peer)}")

    def _write(self, line: str) -> None:
        writing = files.open_for_append(self.descriptor)
        try:
            files.write_all(writing, f"{line}\n".encode(errors="replace"))
        finally:
            os.close(writing)

    def tell(self, spool: Spool, message: QueueId, reply: Reply) -> bool:
        """Answer the client; False if it does not wait any more."""
        if not _lives(self.descriptor, self.path):
            return False
        self._write(str(reply))
        try:
            files.rename(self.path, self.path.plus(_ANSWER))
        except FileNotFoundError:
            return False
        spool.announcer.announce_to(self._ear, message)
        return True

    def close(self) -> None:
        """Close what was open."""
        os.close(self.descriptor)


def look_for(spool: Spool, message: QueueId) -> Wait | None:
    """Look for a living client who waits for a message."""
    path = spool.directories.waiting / message
    opened = files.open_with_status(path)
    if opened is None:
        return None
    descriptor, status = opened
    try:
        if _lives(descriptor, path):
            line = files.read_known(descriptor, status.st_size).decode(errors="replace")
            ack, _, ear = line.partition("\n")[0].partition(" ")
            wait = Wait(path, descriptor, Ack(ack), ear)
            descriptor = -1
            return wait
    except ValueError:  # nobody of ours has written that
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
