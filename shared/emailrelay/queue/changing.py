"""Changes messages of a store as the operator wishes, several at a time."""

import asyncio
from collections.abc import Callable, Sequence

from emailrelay.errors import RelayError
from emailrelay.queue.action import GONE, WISHES, Action
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store

_AT_ONCE = 8
"""Messages changed at a time: a database answers each with a commit of its own."""


async def change_each(
    store: Store,
    action: Action,
    messages: Sequence[QueueId],
    tell: Callable[[QueueId, str | None], None],
) -> None:
    """Apply the action to each message, and ``tell`` its problem; None: it was done.

    ``GONE``: the message had left or changed its state before. An error with one message does not
    stop the others.
    """
    waiting = iter(messages)

    async def work() -> None:
        for message in waiting:
            tell(message, await _problem(store, action, message))
            await asyncio.sleep(0)  # a spool does its work at once

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_AT_ONCE, len(messages))):
            group.create_task(work())


async def _problem(store: Store, action: Action, message: QueueId) -> str | None:
    wish = WISHES.get(action)
    try:
        done = await (store.flush(message) if wish is None else store.wish(message, wish))
    except RelayError as error:
        return str(error)
    return None if done else GONE
