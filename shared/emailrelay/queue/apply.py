"""Applies an action of the operator to the messages that the command line chooses."""

from argparse import Namespace
from collections.abc import Mapping, Sequence

from emailrelay.queue.action import Action
from emailrelay.queue.changing import change_each
from emailrelay.queue.open_store import with_store
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store
from emailrelay.terminal.progress import progress


def apply(
    asked: Namespace, action: Action, messages: Sequence[QueueId]
) -> Mapping[QueueId, str | None]:
    """Apply the action to each message; return the problem of each, None: it was done.

    An error with one message does not stop the others.
    """
    return with_store(asked, lambda store: _apply(store, action, messages))


async def _apply(
    store: Store, action: Action, messages: Sequence[QueueId]
) -> Mapping[QueueId, str | None]:
    problems = dict[QueueId, str | None]()
    with progress(action, len(messages)) as step:

        def note(message: QueueId, problem: str | None) -> None:
            problems[message] = problem
            step()

        await change_each(store, action, messages, note)
    return {message: problems[message] for message in messages}
