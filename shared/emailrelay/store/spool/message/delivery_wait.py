"""A client's wait for the delivery of its message: it has no file unless something goes wrong.

The message's id names its receiver, whose lock in ``.doubt/`` shows that it lives and whose socket
in ``.wake/`` gets the answer. A receiver that gives up makes ``.waiting/ID.withdrawn``; the
forwarder looks for that before the final dot and after its answer. Either the forwarder sees it, or
the receiver sees what came before: the answer in its socket, or the forwarder's note in ``.doubt/``
that the final dot is on its way. An answer that no socket takes is a file, ``ID.reply``.

Guarantee: a client is told 250 only after the delivery, and the message is removed before that.
"""

import contextlib
import os
from collections.abc import Callable

from emailrelay.ack import Ack
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.store.spool.disk import file_octets, files, regular_files
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.marks import final_dots, live_writer
from emailrelay.store.spool.message.client_wait import Wait, Waiter
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.wake.answer_socket import SOCKET

WITHDRAWN, REPLY, NEW = ".withdrawn", ".reply", ".new"
"""The ends of the names in ``.waiting/``; NEW: a reply that is being written."""
_LONGEST = 4096
"""Octets of a reply in a file; the rest of a longer one is cut off."""
_UNKNOWN = "unknown"
_NOT_DELIVERED = Reply(451, "4.3.0 the message was withdrawn")


class DeliveryWaiter(Waiter):
    """See ``Waiter``."""

    ack = Ack.DELIVERED

    def __init__(self, spool: Spool, message: QueueId, receive: Callable[[], None]) -> None:
        """``receive`` takes the datagrams that have arrived.

        Raises:
            OSError: other processes could not see that this one lives.

        """
        super().__init__()
        if not spool.writer.is_shown():
            raise OSError(f"cannot lock a file in {spool.directories.doubt}")
        self._spool, self._message, self._receive = spool, message, receive
        self._path = spool.directories.waiting / message

    def _hear(self, answer: str) -> None:
        with contextlib.suppress(ValueError):  # any member of the group may send nonsense
            self._reply = Reply.parse(answer)

    def _look(self) -> None:
        at = self._path.plus(REPLY)
        with contextlib.suppress(OSError):  # any member of the group may put anything there
            octets = regular_files.read_beginning(at, _LONGEST)
            if octets is not None:
                files.remove(at)
                self._hear(octets.decode(errors="replace"))

    def _end(self) -> None:
        try:
            os.close(files.create(self._path.plus(WITHDRAWN)))
        except OSError as error:  # a forwarder that has the message may deliver it
            self._spool.trouble(f"withdraw {self._message}", error)
            self.doubt = _UNKNOWN
        # Looked for after the mark is there: the sender of a later answer or dot sees that.
        self._receive()  # the answer may be in the socket
        if self._reply is None:
            self._look()
        if self._reply is not None:
            forget(self._spool, self._message)
            return
        peer = final_dots.peer_of(self._spool.directories.doubt, self._message)
        self.doubt = peer or self.doubt


class DeliveryWait(Wait):
    """See ``Wait``."""

    ack = Ack.DELIVERED

    def __init__(self, spool: Spool, message: QueueId) -> None:
        """Nothing is opened."""
        self._spool, self._message = spool, message
        self._process = live_writer.process_of(message)
        self._withdrawn = _withdrawn(spool, message)

    def stands(self) -> bool:
        """See ``Wait.stands``."""
        return self._lives() and not files.exists(self._withdrawn)

    def _lives(self) -> bool:
        return self._process is not None and self._spool.writers.has_process(self._process)

    async def tell(self, reply: Reply) -> bool:
        """See ``Wait.tell``."""
        to, answer = self._addressed(reply)
        return self._told(reply, sent=await self._spool.announcer.tell_together(to, answer))

    def answer_waits(self) -> bool:
        """Tell if the answer was told and is still here: the socket of the receiver is full."""
        return self._spool.announcer.keeps(f"{SOCKET}.{self._process}") and self.stands()

    def refuse(self) -> None:
        """Answer a client whose message was withdrawn."""
        to, answer = self._addressed(_NOT_DELIVERED)
        self._told(_NOT_DELIVERED, sent=self._spool.announcer.tell(to, answer))

    def _addressed(self, reply: Reply) -> tuple[str, str]:
        return f"{SOCKET}.{self._process}", f"{self._message} {reply}"

    def _told(self, reply: Reply, *, sent: bool) -> bool:
        """See ``Wait.tell``. A mark that the client has gone is removed: the message is, too.

        A mark that cannot be removed lasts as long as the receiver; the answer has been given.
        """
        heard = sent or (self.leave_in_file(reply) and self._lives())
        try:
            gone = _removed(self._withdrawn)
        except OSError as error:
            self._spool.trouble(f"forget that the client of {self._message} has gone", error)
            gone = True
        return heard and not gone

    def leave_in_file(self, reply: Reply) -> bool:
        """Write an answer that the socket does not take; False: the disk refused it."""
        path = self._spool.directories.waiting / self._message
        new = path.plus(NEW)
        try:
            descriptor = files.create(new)
            try:
                file_octets.write_all(descriptor, str(reply).encode())
            finally:
                os.close(descriptor)
            files.rename(new, path.plus(REPLY))
        except OSError as error:
            self._spool.trouble(f"answer the client of {self._message}", error)
            return False
        return True


def look_for(spool: Spool, message: QueueId) -> DeliveryWait | None:
    """Look for a living client who waits for the delivery."""
    wait = DeliveryWait(spool, message)
    return wait if wait.stands() else None


def refuse(spool: Spool, message: QueueId) -> None:
    """End the wait for a message that was withdrawn; its receiver may live against all signs."""
    DeliveryWait(spool, message).refuse()


def forget(spool: Spool, message: QueueId) -> None:
    """Remove the mark that the client has gone, with its message."""
    _removed(_withdrawn(spool, message))


def _withdrawn(spool: Spool, message: QueueId) -> Location:
    return spool.directories.waiting / f"{message}{WITHDRAWN}"


def _removed(mark: Location) -> bool:
    if not files.exists(mark):
        return False
    files.remove(mark)
    return True
