"""The method of a store that carries out an action of the operator."""

from collections.abc import Awaitable, Callable

from emailrelay.queue.action import Action
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store


def change_method(store: Store, action: Action) -> Callable[[QueueId], Awaitable[bool]]:
    """Return the method; it returns False if the message had left or changed its state before."""
    return {
        Action.FLUSH: store.flush,
        Action.HOLD: store.hold,
        Action.RELEASE: store.retry,
        Action.RETRY: store.retry,
        Action.FAIL: store.fail,
        Action.DELETE: store.delete,
    }[action]
