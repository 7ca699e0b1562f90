"""Sends hints for a process with an event loop: in batches, and again to sockets that were full.

Messages that one turn of the loop makes ready are announced together, and the answers to waiting
clients go together. A deferred message is announced at once, so that an administrator who reads of
it in the log can wake it.
"""

import asyncio
import contextlib
import threading

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.wake.hint_sender import LONGEST, Due, HintSender

_AGAIN = 0.05
"""Seconds until a socket that was full is tried again."""


class _Answers:
    """Lines that go to one socket in one datagram."""

    __slots__ = ("datagram", "sent", "to")

    def __init__(self, to: str) -> None:
        self.to = to
        self.datagram = b""
        self.sent = False
        """False: there is no such socket, or they are not sent yet."""


class Announcer:
    """Announces the messages of one process that has a spool open. Any thread may use it."""

    def __init__(self, sender: HintSender) -> None:
        self._sender = sender
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._gathered: dict[Stage, list[Due]] = {}
        self._answers: list[_Answers] = []
        self._soon: asyncio.Handle | None = None
        self._again: asyncio.TimerHandle | None = None

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Gather the hints of each turn of this running loop; else they are sent at once."""
        self._loop, self._thread = loop, threading.get_ident()
        self._try_again_soon()

    def announce(self, stage: Stage, message: QueueId, *, due: float = 0.0) -> None:
        """Announce a message that is due at ``due`` (seconds since 1970; 0: now)."""
        if due or self._loop is None or threading.get_ident() != self._thread:
            self._sender.send(stage, message, due=due)
            self._retry_missed()
            return
        self._gathered.setdefault(stage, []).append(Due(message, due))
        self._soon = self._soon or self._loop.call_soon(self._flush)

    def send_gathered(self) -> None:
        """Send the hints of this turn of the loop now: no others will join them."""
        if self._soon is not None and self._gathered:
            self._soon.cancel()
            self._flush()

    def tell(self, name: str, line: str) -> bool:
        """Send a line to one socket by its name, at once; see ``HintSender.tell``."""
        return self._tell(name, _datagram(line))

    async def tell_together(self, name: str, line: str) -> bool:
        """Do as ``tell``, in one datagram with the lines of this turn of the loop for that socket.

        So the process that receives them wakes once. The line of a cancelled call is sent, too.
        """
        if self._loop is None or threading.get_ident() != self._thread:
            return self.tell(name, line)
        answers = self._add(name, _datagram(line))
        self._soon = self._soon or self._loop.call_soon(self._flush)
        await asyncio.sleep(0)  # the loop calls _flush first
        return answers.sent

    def _add(self, name: str, line: bytes) -> _Answers:
        for answers in self._answers:
            if answers.to == name and len(answers.datagram) + len(line) <= LONGEST:
                break
        else:
            answers = _Answers(name)
            self._answers.append(answers)
        answers.datagram += line
        return answers

    def _tell(self, name: str, datagram: bytes) -> bool:
        sent = self._sender.tell(name, datagram)
        self._retry_missed()
        return sent

    def keeps(self, name: str) -> bool:
        """Tell if datagrams for a socket are still here."""
        return self._sender.keeps(name)

    def ask_for_scans(self) -> None:
        """See ``HintSender.ask_for_scans``."""
        self._sender.ask_for_scans()
        self._retry_missed()

    def announce_missed(self) -> bool:
        """Send the missed hints now; return True if a socket is still full."""
        self._sender.send_missed()
        return self._sender.missed

    def _flush(self) -> None:
        self._soon = None
        waiting, self._answers = self._answers, []
        for answers in waiting:
            answers.sent = self._tell(answers.to, answers.datagram)
        gathered, self._gathered = self._gathered, {}
        for stage, messages in gathered.items():
            self._sender.announce(stage, messages)
        self._try_again_soon()

    def _retry_missed(self) -> None:
        if self._sender.missed and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._try_again_soon)

    def _try_again_soon(self) -> None:
        if self._sender.missed and self._loop is not None and self._again is None:
            self._again = self._loop.call_later(_AGAIN, self._try_again)

    def _try_again(self) -> None:
        self._again = None
        self._sender.send_missed()
        self._try_again_soon()

    def close(self) -> None:
        """Send the last hints, and close the sender; in the loop's thread, if there is a loop."""
        for handle in (self._soon, self._again):
            if handle is not None:
                handle.cancel()
        self._loop = None  # a scan finds the messages of hints that are missed now
        self._flush()
        self._sender.close()


def _datagram(line: str) -> bytes:
    return f"{line}\n".encode(errors="replace")
