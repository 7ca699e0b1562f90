"""Changes many messages, with a count of what was done."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from emailrelay.events.console import ConsoleAction
from emailrelay.events.event import Report
from emailrelay.queue.action import APPLIES_TO, GONE, Action
from emailrelay.queue.changing import change_each
from emailrelay.queue.row import row
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store
from emailrelay.store.queue_view import QueueEntry

_MOST_PROBLEMS = 20


@dataclass(slots=True, kw_only=True)
class MessageChange:
    """A change of messages, and how far it has come."""

    action: Action
    user: str
    total: int
    """Messages at its beginning."""
    done: int = 0
    passed: int = 0
    """Messages that had left or changed their state before."""
    failed: int = 0
    problems: list[str] = field(default_factory=list[str])
    """The first problems."""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def seen(self) -> int:
        """Return how many messages it has come to."""
        return self.done + self.passed + self.failed


async def carry_out(
    change: MessageChange,
    store: Store,
    entries: AsyncIterator[list[QueueEntry]],
    *,
    report: Report,
    clock: Callable[[], float],
) -> None:
    """Change the messages that the action applies to at that moment."""
    applies_to = APPLIES_TO[change.action]

    def note(message: QueueId, problem: str | None) -> None:
        if problem is None:
            change.done += 1
            report(ConsoleAction(id=message, action=change.action.value, user=change.user))
        elif problem == GONE:
            change.passed += 1
        else:
            change.failed += 1
            if len(change.problems) < _MOST_PROBLEMS:
                change.problems.append(f"{message}: {problem}")

    async for part in entries:
        now = clock()
        fit = [each.listed.id for each in part if row(each, now).state in applies_to]
        change.passed += len(part) - len(fit)
        await change_each(store, change.action, fit, note)
