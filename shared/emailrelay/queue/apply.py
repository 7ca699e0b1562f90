"""Applies an action of the operator to many messages, several at a time."""

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence

from emailrelay.errors import StoreError
from emailrelay.queue.action import GONE, Action
from emailrelay.queue.change_method import change_method
from emailrelay.queue.open_store import with_store
from emailrelay.queue_id import QueueId
from emailrelay.terminal.progress import progress

_AT_ONCE = 8
"""Messages changed at a time: a database answers each with a commit of its own."""


def apply(
    asked: Namespace, action: Action, messages: Sequence[QueueId]
) -> Mapping[QueueId, str | None]:
    """Apply the action to each message; return the problem of each, None: it was done.

    An error with one message does not stop the others.
    """
    return with_store(asked, lambda store: _apply(change_method(store, action), action, messages))


async def _apply(
    act: Callable[[QueueId], Awaitable[bool]], doing: str, messages: Sequence[QueueId]
) -> Mapping[QueueId, str | None]:
    problems, waiting = dict[QueueId, str | None](), iter(messages)
    with progress(doing, len(messages)) as step:

        async def work() -> None:
            for message in waiting:
                try:
                    problems[message] = None if await act(message) else GONE
                except StoreError as error:
                    problems[message] = str(error)
                step()

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(messages))):
                group.create_task(work())
    return {message: problems[message] for message in messages}
