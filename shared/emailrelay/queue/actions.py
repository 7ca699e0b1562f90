"""Actions on selected messages, one message after the other."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from emailrelay.errors import StoreError
from emailrelay.queue.state import State
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store


class Action(StrEnum):
    """An action of the operator; the value is the command's name."""

    HOLD = "hold"
    RELEASE = "release"
    RETRY = "retry"
    FAIL = "fail"
    DELETE = "delete"
    FLUSH = "flush"


APPLIES_TO = {
    Action.HOLD: frozenset({State.UNFILTERED, State.READY, State.DEFERRED}),
    Action.RELEASE: frozenset({State.HELD}),
    Action.RETRY: frozenset({State.DEFERRED, State.HELD, State.FAILED}),
    Action.FAIL: frozenset({State.UNFILTERED, State.READY, State.DEFERRED, State.HELD}),
    Action.DELETE: frozenset(State),
    Action.FLUSH: frozenset({State.DEFERRED}),
}
"""The states that an action changes. Messages in other states are skipped."""


@dataclass(slots=True)
class ActionResult:
    """The result of an action for each message."""

    done: list[QueueId] = field(default_factory=list[QueueId])
    gone: list[QueueId] = field(default_factory=list[QueueId])
    """Another process delivered the message or changed its state first."""
    failed: dict[QueueId, str] = field(default_factory=dict[QueueId, str])


async def apply(store: Store, action: Action, messages: Iterable[QueueId]) -> ActionResult:
    """Apply an action to each message; an error with one does not stop the others."""
    act = _method(store, action)
    result = ActionResult()
    for message in messages:
        try:
            (result.done if await act(message) else result.gone).append(message)
        except StoreError as error:
            result.failed[message] = str(error)
    return result


def _method(store: Store, action: Action) -> Callable[[QueueId], Awaitable[bool]]:
    match action:
        case Action.HOLD:
            return store.hold
        case Action.RELEASE | Action.RETRY:
            return store.retry
        case Action.FAIL:
            return store.fail
        case Action.DELETE:
            return store.delete
        case Action.FLUSH:
            return store.flush
        case _:
            assert_never(action)
