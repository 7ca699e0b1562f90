"""The work of one filterd process: claim unfiltered mail, run the chain on a copy, settle."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from emailrelay.errors import StoreError
from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay.filter_decision import Run, bug_found, decide, filtered, recipients_refused
from emailrelay.filters.chain import Chain
from emailrelay.filters.copy import FilterCopy, LateCopy, Original
from emailrelay.filters.verdict import Accept, BrokenFilter, Spoken
from emailrelay.mail_fields import mail_fields
from emailrelay.schedule import Schedule
from emailrelay.store.claim import Claim
from emailrelay.store.feed import Feed

WORK_COPY_SUFFIX = "new"
"""Server filters see an envelope whose name ends ``.envelope.new`` (docs/filters.md)."""
_DRAIN_SECONDS = 3.0
"""Seconds for running chains when the service stops; a supervisor kills after 5."""
_STORE_PAUSE = 1.0
_SETTLING = 28
"""The most messages, beside those in filters, that are being settled. A changed one waits for three
syncs, which messages share."""


@dataclass(slots=True, kw_only=True)
class FilterWorker:
    """Filters the mail of ``feed``, ``jobs`` messages at a time, while others are settled.

    With an empty chain it claims none.
    """

    feed: Feed
    chain: Chain
    schedule: Schedule
    report: Report
    jobs: int
    clock: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    drain: float = _DRAIN_SECONDS
    _idle: set[asyncio.Task[None]] = field(init=False, default_factory=set[asyncio.Task[None]])
    _provided: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _places: asyncio.Semaphore = field(init=False)
    """For messages in filters."""

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.jobs)
        self.follow(self.chain, self.schedule)

    def follow(self, chain: Chain, schedule: Schedule) -> None:
        """Use these from the next message on."""
        self.chain, self.schedule = chain, schedule
        if chain.filters:
            self._provided.set()
        else:
            self._provided.clear()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``; then claim nothing more, and give running chains a few seconds.

        A chain that takes longer is killed, and its message stays as it was.
        """
        jobs = {asyncio.create_task(self._job(stop)) for _ in range(self.jobs + _SETTLING)}
        stopping = asyncio.create_task(stop.wait())
        try:
            # A job ends early only because of a bug, which ends the process with a traceback.
            await asyncio.wait({stopping, *jobs}, return_when=asyncio.FIRST_COMPLETED)
            for job in self._idle:
                job.cancel()
            if stop.is_set():
                await asyncio.wait(jobs, timeout=self.drain)
        finally:
            for task in (stopping, *jobs):
                task.cancel()
            ended = await asyncio.gather(*jobs, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def _job(self, stop: asyncio.Event) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a job is a task")
        while not stop.is_set():
            async with await self._next(task) as claim:
                try:
                    await self._filter(claim)
                except StoreError as error:
                    # The claim is kept, so that other jobs take other messages meanwhile.
                    await self._pause(f"filtering {claim.id}", error)

    async def _pause(self, doing: str, error: StoreError) -> None:
        self.report(StoreTrouble(doing=doing, reason=str(error)))
        await asyncio.sleep(_STORE_PAUSE)

    async def _next(self, task: asyncio.Task[None]) -> Claim:
        """Wait for a place in the filters, and for a message."""
        self._idle.add(task)
        try:
            await self._places.acquire()
            try:
                return await self._claim()
            except BaseException:
                self._places.release()
                raise
        finally:
            self._idle.discard(task)

    async def _claim(self) -> Claim:
        while True:
            await self._provided.wait()
            try:
                return await self.feed.claim()
            except StoreError as error:
                await self._pause("looking for unfiltered mail", error)

    async def _filter(self, claim: Claim) -> None:
        started = self.clock()
        try:
            if not self.chain.filters:
                return  # A reload removed the filters meanwhile; a scan finds it again.
            spoken = await self._run_chain(claim)
        finally:
            self._places.release()
        ended = self.clock()
        run = Run(
            message=claim.id,
            history=claim.history,
            ack=claim.ack,
            ended=ended,
            seconds=ended - started,
            chance=self.chance(),
            about=mail_fields(claim.envelope),
            envelope=claim.envelope,
        )
        decision = decide(spoken, run, self.schedule)
        await claim.settle(decision.settlement, decision.answer)
        if spoken.verdict.rescan:
            self.feed.look()
        if (bug := bug_found(spoken, claim.id)) is not None:
            self.report(bug)
        self.report(filtered(spoken, claim.id))
        if (refused := recipients_refused(spoken, run)) is not None:
            self.report(refused)
        self.report(decision.event)

    async def _run_chain(self, claim: Claim) -> Spoken:
        known = self.chain.at_once(claim.envelope, claim.size)
        if known is not None:
            return known
        original = Original(claim.envelope, claim.size, claim.touched)
        try:
            small = claim.at_hand(WORK_COPY_SUFFIX) if self.chain.may_need_no_copy else None
            if small is None:
                copy = await claim.work_copy(WORK_COPY_SUFFIX)
                return await self._run_on(copy, claim, original)
            late = LateCopy(claim.envelope, small.content, small.copy)
            spoken = await self._run_on(late, claim, original)
            if late.changed is not None and isinstance(spoken.verdict, Accept):
                small.replace(*late.changed)
        except StoreError as error:
            # The schedule defers it; otherwise a full disk would keep the job busy with this
            # message.
            return Spoken(BrokenFilter(reason=str(error)), "work copy")
        return spoken

    def _run_on(self, copy: FilterCopy, claim: Claim, original: Original) -> Awaitable[Spoken]:
        dsn = claim.history.dsn
        return self.chain.run(copy, message=claim.id, dsn=dsn, original=original)
