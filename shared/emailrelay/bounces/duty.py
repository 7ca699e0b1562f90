"""One process at a time, of all that use a store, is its bouncer; another follows when it ends."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from emailrelay.bounces.bouncer import Bouncer
from emailrelay.bounces.telling import BounceRules
from emailrelay.errors import StoreError
from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store
from emailrelay.store.limits import Slot

SLOT = "-bounces"
"""The place of the one bouncer among the slots of routes, none of which has such a name."""
PERIOD = 60.0
"""Seconds between two looks at all failed mail: other processes and operators let mail fail."""
_NEXT_TURN = 10.0
"""Seconds between two looks whether the process that is the bouncer has ended."""
_WITHOUT_NOTICES = 3600.0
"""Seconds between two looks if mail is only removed."""


class BounceDuty:
    """The bounces of a store, in a forwarder process that takes its turn with all others."""

    def __init__(
        self,
        store: Store,
        rules: BounceRules,
        *,
        report: Report,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._rules = store, rules
        self._report, self._clock = report, clock
        self._heard: dict[QueueId, None] = {}
        self._all = False
        self._news = asyncio.Event()
        self._on_duty = False

    def hear(self, message: QueueId) -> None:
        """Take note that a message has failed in this process. Any number of calls costs little."""
        if self._on_duty:
            self._heard[message] = None
            self._news.set()

    def look(self) -> None:
        """Look at all failed mail now: the operator asks for it."""
        self._all = True
        self._news.set()

    def follow(self, rules: BounceRules) -> None:
        """Use other settings."""
        self._rules = rules
        self.look()

    async def run(self) -> None:
        """Work until cancelled. A notice that is cut off is sent on by any opener of the store."""
        while True:
            if self._is_needed():
                slot = await self._slot()
                if slot is not None:
                    self._on_duty = True
                    try:
                        await self._work()
                    finally:
                        self._on_duty = False
                        slot.release()
            await self._wait(_NEXT_TURN)

    async def once(self) -> None:
        """Look at all failed mail one time, unless another process does that."""
        slot = await self._slot() if self._is_needed() else None
        if slot is not None:
            try:
                await self._bouncer().round()
            finally:
                slot.release()

    def _is_needed(self) -> bool:
        return self._rules.tells or self._rules.keep is not None

    def _bouncer(self) -> Bouncer:
        return Bouncer(self._store, self._rules, report=self._report, clock=self._clock)

    async def _slot(self) -> Slot | None:
        try:
            return await self._store.limits(SLOT).slot(1, within=0)
        except StoreError as error:
            self._report(StoreTrouble(doing="telling senders of failed mail", reason=str(error)))
            return None

    async def _work(self) -> None:
        """Be the bouncer, until other settings say that none is needed."""
        loop = asyncio.get_running_loop()
        rules, bouncer, end = self._rules, self._bouncer(), loop.time()
        while True:
            if rules is not self._rules:
                if not self._is_needed():
                    return
                rules, bouncer, self._all = self._rules, self._bouncer(), True
            if self._all or loop.time() >= end:
                end = loop.time() + (PERIOD if rules.tells else _WITHOUT_NOTICES)
                self._all = False
                self._heard.clear()
                await bouncer.round()
            else:
                heard, self._heard = self._heard, {}
                await bouncer.hear(heard)
            due = bouncer.next_due()
            rest = end - loop.time()
            await self._wait(rest if due is None else min(rest, due - self._clock()))

    async def _wait(self, seconds: float) -> None:
        """Wait for news, at most so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._news.wait()
        self._news.clear()
