"""Tells the senders of failed mail, and removes the mail whose senders were told long ago."""

import asyncio
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from itertools import islice

from emailrelay.bounces import telling
from emailrelay.bounces.addressees import Tell
from emailrelay.bounces.pace import CountedMailboxes, NoticesDue, Pace
from emailrelay.bounces.telling import BounceRules, SentNotice
from emailrelay.bounces.told_mail import ToldMail, told_at
from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.events.bounces import BouncesHeldBack
from emailrelay.events.event import Report
from emailrelay.events.service import InternalError
from emailrelay.events.store import StoreTrouble
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.failure import FailedMessage

_MOST_REMOVED = 500
"""Messages that are removed in one round."""


class Bouncer:
    """The work on the failed mail of one store. At most one process does it at a time.

    A second process would not tell a sender twice, but it would not know the pace of the first.
    """

    def __init__(
        self, store: Store, rules: BounceRules, *, report: Report, clock: Callable[[], float]
    ) -> None:
        self._store, self._rules = store, rules
        self._report, self._clock = report, clock
        self._told, self._pace = ToldMail(), Pace()
        self._slowed: set[CountedMailboxes] = set()

    async def round(self) -> None:
        """Look at all failed messages that are new or have changed, and do what is due."""
        listed = await self._listed()
        for message, since in sorted(listed.items()):
            if not self._told.is_seen(message, since):
                await self._look(message, since)
        await self._tell()
        await self._remove_expired()

    async def hear(self, messages: Iterable[QueueId]) -> None:
        """Look at messages that have failed just now, and do what is due."""
        for message in messages:
            await self._look(message, None)
        await self._tell()

    def next_due(self) -> float | None:
        """Return the time at which waiting messages are due (seconds since 1970), if any wait."""
        return self._pace.next_due()

    async def _listed(self) -> dict[QueueId, float]:
        listed: dict[QueueId, float] = {}
        try:
            async for entry in self._store.listing((Stage.FAILED,)):
                listed[entry.id] = entry.since
        except StoreError as error:  # one of several may be unavailable: the others are listed
            self._report(StoreTrouble(doing="looking for failed mail", reason=str(error)))
            return listed
        self._told.keep_only(listed)
        self._pace.keep_only(listed)
        return listed

    @contextmanager
    def _each(self, doing: str, *messages: QueueId) -> Generator[None]:
        """Handle some messages: trouble with them must not stop the others."""
        try:
            yield
        except StoreError as error:
            self._report(StoreTrouble(doing=doing, reason=str(error)))
            for message in messages:
                self._told.forget(message)
        except Exception:  # noqa: BLE001 - a bug must not stop the forwarder at every start
            self._report(InternalError(doing=doing, reason=traceback.format_exc()))

    async def _look(self, message: QueueId, since: float | None) -> None:
        """Find out who is to be told of a message."""
        await asyncio.sleep(0)  # other work of this process gets its turn
        with self._each(f"looking at the failed message {message}", message):
            try:
                found = await self._store.describe(message)
            except DamagedMessage:  # its sender may be readable for the one who has the right
                await self._look_closely(message, since)
                return
            if found is not None and found[0] is Stage.FAILED:
                await self._decide(message, since, found[1], found[2])

    async def _look_closely(self, message: QueueId, since: float | None) -> None:
        failure = await self._store.failure(message)
        if failure is not None:
            async with failure:
                envelope, history = failure.envelope, failure.history
            await self._decide(message, since, envelope, history)

    async def _decide(
        self, message: QueueId, since: float | None, envelope: Envelope | None, history: History
    ) -> None:
        self._told.see(message, since, told_at(envelope, history))
        if history.notified:
            if history.notice is not None:
                self._pace.count(history.notice.to, history.notice.notice, history.notice.at)
        elif self._rules.tells:
            decision = self._rules.addressees(envelope, history)
            if isinstance(decision, Tell):
                failed = history.failed
                self._pace.add(decision.to, message, self._clock() if failed is None else failed.at)
            elif await telling.leave_untold(self._store, self._rules, message, self._report):
                self._told.forget(message)  # the next round sees the record

    async def _tell(self) -> None:
        """Send the notices that are due."""
        now, most = self._clock(), self._rules.per_hour
        for to, due in self._pace.due(most=most, now=now):
            await self._tell_each(to, due)
            again = self._pace.held_back(to)
            if again is None:
                self._slowed.discard(to)
            elif to not in self._slowed:
                self._slowed.add(to)
                self._report(BouncesHeldBack(to=to, notices=most, again=again))

    async def _tell_each(self, to: CountedMailboxes, due: NoticesDue) -> None:
        for message in due.singly:
            with self._each(f"telling the sender of {message}", message):
                self._pace.drop(to, message)
                self._count(
                    await telling.tell_singly(self._store, self._rules, message, self._report)
                )
                self._told.forget(message)  # the next round sees the record
        if due.together:
            with self._each(f"telling {', '.join(to)} of failed mail", *due.together):
                for message in due.together:
                    self._pace.drop(to, message)
                self._count(
                    await telling.tell_together(
                        self._store, self._rules, due.together, to, self._report
                    )
                )
                for message in due.together:
                    self._told.forget(message)

    def _count(self, sent: SentNotice | None) -> None:
        if sent is not None:
            self._pace.count(sent.to, sent.id, self._clock())

    async def _remove_expired(self) -> None:
        keep = self._rules.keep
        if keep is None:
            return
        before = self._clock() - keep

        def is_over(failure: FailedMessage) -> bool:
            told = told_at(failure.envelope, failure.history)
            return told is not None and told <= before

        for message in islice(self._told.expired(before), _MOST_REMOVED):
            with self._each(f"removing the failed message {message}", message):
                await asyncio.sleep(0)
                await telling.remove(self._store, message, is_over, self._report)
                self._told.forget(message)
