"""The state of a message, as the operator sees it."""

from enum import StrEnum

from emailrelay.stage import Stage
from emailrelay.store.queue_view import waits


class State(StrEnum):
    """A stage; a message that waits for its next try is ``DEFERRED``."""

    UNFILTERED = "unfiltered"
    READY = "ready"
    DEFERRED = "deferred"
    HELD = "held"
    FAILED = "failed"


_STATES = {
    Stage.UNFILTERED: State.UNFILTERED,
    Stage.READY: State.READY,
    Stage.HELD: State.HELD,
    Stage.FAILED: State.FAILED,
}


def state_of(stage: Stage, next_attempt: float | None, now: float) -> State:
    """Return the state of a message whose next try is at ``next_attempt`` (None: at once)."""
    return state_at(stage, later=waits(stage, next_attempt, now))


def state_at(stage: Stage, *, later: bool) -> State:
    """Return the state at a stage; ``later``: the next try is later (``queue_view.waits``)."""
    return State.DEFERRED if later else _STATES[stage]


def stages_of(states: frozenset[State]) -> tuple[Stage, ...]:
    """Return the stages that messages in these states can have (no states: all stages)."""
    if not states:
        return tuple(Stage)
    deferred = State.DEFERRED in states
    working = (Stage.UNFILTERED, Stage.READY)
    return tuple(s for s in Stage if _STATES[s] in states or (deferred and s in working))
