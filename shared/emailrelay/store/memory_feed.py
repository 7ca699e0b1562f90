"""How the memory store's messages reach whoever waits for them."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from socket import socket
from types import TracebackType
from typing import Protocol, Self

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Claim, Feed
from emailrelay.store.memory_mail import MemoryMail

_FORCED = "!"
"""Stands before the id of a message that is to be tried even before its time."""


class ClaimNow(Protocol):
    """Claims a message in one step, or gives None."""

    def __call__(self, stage: Stage, message: QueueId, *, due_only: bool) -> Claim | None:
        """See ``Store.claim``."""
        ...


async def dispatch(
    mail: MemoryMail,
    clock: Callable[[], float],
    stage: Stage,
    hints: socket,
    woken: asyncio.Event,
) -> None:
    """See ``Store.dispatch``."""
    hints.settimeout(0)
    told: dict[QueueId, int] = {}
    watching = asyncio.create_task(_ring_when(woken, mail))
    try:
        while True:
            forced = _FORCED if woken.is_set() else ""
            woken.clear()
            for kept, wait in list(mail.free(stage, clock())):
                if forced or (wait <= 0 and told.get(kept.id) != kept.turn):
                    told[kept.id] = kept.turn
                    hint = f"{forced}{kept.id}".encode()
                    await asyncio.get_running_loop().sock_sendall(hints, hint)
            told = {message: turn for message, turn in told.items() if message in mail.kept}
            await mail.change(mail.pause(stage, clock()))
    finally:
        watching.cancel()


async def _ring_when(woken: asyncio.Event, mail: MemoryMail) -> None:
    while True:
        await woken.wait()
        mail.ring()
        await asyncio.sleep(0)  # whoever was rung clears it


class MemoryFeed(Feed):
    """See ``Feed``. Without hints, or when their sender is gone, it looks at the mail itself."""

    def __init__(
        self,
        mail: MemoryMail,
        clock: Callable[[], float],
        stage: Stage,
        hints: socket | None,
        claim: ClaimNow,
    ) -> None:
        self._mail, self._clock, self._stage = mail, clock, stage
        self._claim_now = claim
        self._hints = hints
        self._hinted: deque[QueueId] = deque()
        self._woken: set[QueueId] = set()
        self._waiting = 0

    async def __aenter__(self) -> Self:
        """See ``Feed``."""
        if self._hints is not None:
            self._hints.settimeout(0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the hints that were taken and not used to others."""
        for message in self._hinted:
            self._mail.offer_again(message)
        self._hinted.clear()

    def wake(self) -> None:
        """See ``Feed``."""
        free = self._mail.free(self._stage, self._clock())
        self._woken.update(kept.id for kept, _ in free)
        self._mail.ring()

    def all_heard(self) -> bool:
        """See ``Feed``. Nothing can be missed here."""
        return True

    def look(self) -> None:
        """See ``Feed``. Nothing can be here unheard."""

    async def claim(self) -> Claim:
        """See ``Feed``."""
        while True:
            if claim := self._claim_next():
                return claim
            await self._wait()

    def _claim_next(self) -> Claim | None:
        for message in self._candidates():
            due_only = message not in self._woken
            self._woken.discard(message)
            claim = self._claim_now(self._stage, message, due_only=due_only)
            if claim is not None:
                return claim
        return None

    def _candidates(self) -> Iterator[QueueId]:
        yield from sorted(self._woken, key=list(self._mail.kept).index)
        while self._hinted:
            yield self._hinted.popleft()
        if self._hints is None:
            free = self._mail.free(self._stage, self._clock())
            yield from [kept.id for kept, wait in free if wait <= 0]

    async def _wait(self) -> None:
        """Wait for a change or a hint; a hint is read only while somebody waits for one.

        What is read goes into a queue, not to the waiter: a cancelled waiter takes no hint with it.
        """
        if self._hints is None:
            await self._mail.change(self._mail.pause(self._stage, self._clock()))
            return
        loop, hints = asyncio.get_running_loop(), self._hints
        loop.add_reader(hints, self._read_hint, hints)
        self._waiting += 1
        try:
            await self._mail.change(None)
        finally:
            self._waiting -= 1
            if not self._waiting:
                loop.remove_reader(hints)

    def _read_hint(self, hints: socket) -> None:
        try:
            octets = hints.recv(64)
        except BlockingIOError:
            return  # another feed on the same socket was faster
        if octets:
            hint = octets.decode()
            message = QueueId(hint.removeprefix(_FORCED))
            self._hinted.append(message)
            if hint.startswith(_FORCED):
                self._woken.add(message)
        else:
            self._hints = None  # the dispatcher is gone
        self._mail.ring()
