"""The actions of the operator on messages: their states, and the questions before them."""

from enum import StrEnum

from emailrelay.journal import AdministratorWish
from emailrelay.queue.state import State

GONE = "had moved on"
"""Another process delivered the message or changed its state first."""


class Action(StrEnum):
    """An action of the operator; the value is the command's name."""

    FLUSH = "flush"
    HOLD = "hold"
    RELEASE = "release"
    RETRY = "retry"
    FAIL = "fail"
    DELETE = "delete"


WISHES = {
    Action.HOLD: AdministratorWish.HOLD,
    Action.RELEASE: AdministratorWish.RETRY,
    Action.RETRY: AdministratorWish.RETRY,
    Action.FAIL: AdministratorWish.FAIL,
    Action.DELETE: AdministratorWish.DELETE,
}
"""The wish by which a store carries out an action. A flush is none: ``Store.flush``."""
_UNSENT = frozenset({State.UNFILTERED, State.READY, State.DEFERRED})
APPLIES_TO = {
    Action.FLUSH: frozenset({State.DEFERRED}),
    Action.HOLD: _UNSENT,
    Action.RELEASE: frozenset({State.HELD}),
    Action.RETRY: frozenset({State.DEFERRED, State.HELD, State.FAILED}),
    Action.FAIL: _UNSENT | {State.HELD},
    Action.DELETE: frozenset(State),
}
"""The states that an action changes. Messages in other states are skipped."""
_ALREADY = {
    State.UNFILTERED: "is due already",
    State.READY: "is due already",
    State.DEFERRED: "is deferred already",
    State.HELD: "is held already",
    State.FAILED: "has failed already",
}
QUESTIONS = {
    Action.HOLD: "Hold {}?",
    Action.RELEASE: "Release {}?",
    Action.RETRY: "Retry {}?",
    Action.FAIL: "Give up {}, and tell the senders?",
    Action.DELETE: "Delete {} for good?",
}
"""Asked at a terminal, unless ids alone choose the messages. A flush harms nothing."""


def objection(action: Action, state: State) -> str | None:
    """Say why an action does not apply to a message in this state; None: it applies."""
    states = APPLIES_TO[action]
    if state in states:
        return None
    return f"is not {next(iter(states))}" if len(states) == 1 else _ALREADY[state]
