"""The state of a message, as the operator sees it."""

from enum import StrEnum

from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import to_uuid
from emailrelay.schedule import is_due
from emailrelay.stage import Stage
from emailrelay.store.base import Listed


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
    working = stage in (Stage.UNFILTERED, Stage.READY)
    return State.DEFERRED if working and not is_due(next_attempt, now) else _STATES[stage]


def stages_of(states: frozenset[State]) -> tuple[Stage, ...]:
    """Return the stages that messages in these states can have (no states: all stages)."""
    if not states:
        return tuple(Stage)
    deferred = State.DEFERRED in states
    working = (Stage.UNFILTERED, Stage.READY)
    return tuple(s for s in Stage if _STATES[s] in states or (deferred and s in working))


def arrived(listed: Listed) -> float:
    """Return the arrival time (seconds since 1970): from an id of ours, else from the file."""
    return _time_in_id(listed.id) or listed.since


def _time_in_id(message: QueueId) -> float | None:
    try:
        to_uuid(message)
    except ValueError:
        return None
    return int(message.partition(".")[0]) / 1000


def arrival(message: QueueId) -> tuple[int, ...]:
    """Return a key that sorts ids by arrival: their groups are numbers."""
    return tuple(int(group) if group.isdecimal() else 0 for group in message.split("."))
