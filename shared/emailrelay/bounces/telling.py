"""Sends notices about failed messages, with the sole right to notify the sender of each."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from emailrelay.aliases import Aliases
from emailrelay.bounces import notice, pace
from emailrelay.bounces.addressees import Tell, Untold, addressees
from emailrelay.bounces.dsn import MOST_NAMED
from emailrelay.bounces.notice import OneOfMany
from emailrelay.bounces.pace import CountedMailboxes
from emailrelay.envelope import Address, Envelope
from emailrelay.events.bounces import Bounced, FailedRemoved, NotBounced
from emailrelay.events.event import Report
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store
from emailrelay.store.failure import FailedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class BounceRules:
    """The settings about notices."""

    tells: bool
    """False: mail is only removed whose senders were told in another way."""
    host: str
    """The name of this host in notices."""
    postmaster: tuple[Address, ...]
    aliases: Aliases
    per_hour: int
    """The most notices to one address within an hour, before messages share one."""
    keep: float | None
    """Seconds for which failed mail stays after its sender was told; None: for ever."""

    def addressees(self, envelope: Envelope | None, history: History) -> Tell | Untold:
        """Return who gets a notice of a failed message; see ``bounces.addressees``."""
        return addressees(envelope, history, postmaster=self.postmaster, aliases=self.aliases)


class SentNotice(NamedTuple):
    """A notice that is on its way."""

    id: QueueId
    to: tuple[Address, ...]


@asynccontextmanager
async def _untold(store: Store, message: QueueId) -> AsyncGenerator[FailedMessage | None]:
    """Take the right to tell of a message. None: another process has it, or it was told of."""
    failure = await store.failure(message)
    if failure is None:
        yield None
        return
    async with failure:
        yield None if failure.history.notified else failure


async def tell_singly(
    store: Store, rules: BounceRules, message: QueueId, report: Report
) -> SentNotice | None:
    """Send the notice about one message; None: none is sent now.

    Raises:
        StoreError: the store cannot do it now.

    """
    async with _untold(store, message) as failure:
        if failure is None:
            return None
        decision = rules.addressees(failure.envelope, failure.history)
        if isinstance(decision, Untold):
            return None  # it has changed since the last look
        prepared = await notice.prepare(failure, decision.to, decision.failures, host=rules.host)
        await failure.relay()
    report(Bounced(id=message, notice=prepared.id, to=decision.to))
    return SentNotice(prepared.id, decision.to)


async def tell_together(
    store: Store,
    rules: BounceRules,
    messages: Sequence[QueueId],
    mailboxes: CountedMailboxes,
    report: Report,
) -> SentNotice | None:
    """Send one notice about several messages to ``mailboxes``; None: none is sent now.

    It goes to the address that the first of the messages has for the mailbox.

    Messages that another process has, or that are in another of several stores, are left out. So
    are those behind more recipients than a notice names: they share the next one.

    Raises:
        StoreError: the store cannot do it now.

    """
    async with AsyncExitStack() as held:
        many: list[OneOfMany] = []
        to: tuple[Address, ...] = ()
        named = 0
        for message in messages:
            if named >= MOST_NAMED:
                break
            failure = await held.enter_async_context(_untold(store, message))
            if failure is None or (many and not many[0].failure.beside(failure)):
                continue
            decision = rules.addressees(failure.envelope, failure.history)
            if isinstance(decision, Tell) and pace.mailboxes(decision.to) == mailboxes:
                to = to or decision.to
                many.append(OneOfMany(failure, decision.failures))
                named += len(decision.failures)
        if not many:
            return None
        prepared = await notice.prepare_together(many, to, host=rules.host)
        await many[0].failure.relay()
    for one in many:
        report(Bounced(id=one.failure.id, notice=prepared.id, to=to))
    return SentNotice(prepared.id, to)


async def leave_untold(store: Store, rules: BounceRules, message: QueueId, report: Report) -> bool:
    """Record that the sender of a message gets no notice; return whether that is final.

    Raises:
        StoreError: the store cannot do it now.

    """
    async with _untold(store, message) as failure:
        if failure is None:
            return True
        decision = rules.addressees(failure.envelope, failure.history)
        if isinstance(decision, Tell):
            return True
        if decision.is_final:
            await failure.record(told=decision.is_told)
    report(NotBounced(id=message, reason=decision))
    return decision.is_final


async def remove(
    store: Store, message: QueueId, is_over: Callable[[FailedMessage], bool], report: Report
) -> None:
    """Remove a failed message, if its time is still over now that no other process has it.

    Raises:
        StoreError: the store cannot do it now.

    """
    failure = await store.failure(message)
    if failure is None:
        return
    async with failure:
        if not is_over(failure):
            return
        await failure.remove()
    report(FailedRemoved(id=message))
