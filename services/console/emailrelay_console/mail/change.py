"""Changes many messages one after another, with a count of what was done."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

from emailrelay.errors import RelayError
from emailrelay.events.console import ConsoleAction
from emailrelay.events.event import Report
from emailrelay.queue.action import APPLIES_TO, Action
from emailrelay.queue.change_method import change_method
from emailrelay.queue.row import row
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store
from emailrelay.store.queue_view import QueueEntry

_AT_ONCE = 8
"""Messages changed at a time: a database answers each with a commit of its own."""
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
    act = change_method(store, change.action)
    applies_to = APPLIES_TO[change.action]

    async def work(message: QueueId) -> None:
        try:
            done = await act(message)
        except RelayError as error:
            change.failed += 1
            if len(change.problems) < _MOST_PROBLEMS:
                change.problems.append(f"{message}: {error}")
            return
        if done:
            change.done += 1
            report(ConsoleAction(id=message, action=change.action.value, user=change.user))
        else:
            change.passed += 1

    async for part in entries:
        now = clock()
        fit = [each.listed.id for each in part if row(each, now).state in applies_to]
        change.passed += len(part) - len(fit)
        waiting = iter(fit)

        async def some(waiting: Iterator[QueueId] = waiting) -> None:
            for message in waiting:
                await work(message)
                await asyncio.sleep(0)  # a spool does its work at once

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(fit))):
                group.create_task(some())
