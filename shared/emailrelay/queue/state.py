"""How far a message is, in the operator's words."""

from enum import StrEnum

from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import to_uuid
from emailrelay.schedule import is_due
from emailrelay.stage import Stage
from emailrelay.store.base import Listed


class State(StrEnum):
    """A stage, and whether a working one waits for its next try."""

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
    """Give the state of a message whose next try is at ``next_attempt`` (None: at once)."""
    working = stage in (Stage.UNFILTERED, Stage.READY)
    return State.DEFERRED if working and not is_due(next_attempt, now) else _STATES[stage]


def stages_of(states: frozenset[State]) -> tuple[Stage, ...]:
    """Give the stages at which messages in these states can be (none named: all)."""
    if not states:
        return tuple(Stage)
    deferred = State.DEFERRED in states
    working = (Stage.UNFILTERED, Stage.READY)
    return tuple(s for s in Stage if _STATES[s] in states or (deferred and s in working))


def arrived(listed: Listed) -> float:
    """Give the time of arrival (seconds since 1970) from a name of ours, else the file's time."""
    return _told_by(listed.id) or listed.since


def _told_by(message: QueueId) -> float | None:
    try:
        to_uuid(message)
    except ValueError:
        return None
    return int(message.partition(".")[0]) / 1000


def arrival(message: QueueId) -> tuple[int, ...]:
    """Give a key that sorts ids by arrival: their groups are numbers."""
    return tuple(int(group) if group.isdecimal() else 0 for group in message.split("."))
