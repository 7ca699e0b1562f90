"""One message in a listing, for people and as JSON."""

import math
from dataclasses import dataclass
from typing import Any

from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt, History
from emailrelay.queue.state import State, arrived, state_of
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Listed


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """The facts of one message. Times are seconds since 1970."""

    id: QueueId
    state: State
    arrived: float
    size: int
    sender: Address | None = None
    """None: the envelope cannot be read, see ``last_reply``."""
    recipients: tuple[Address, ...] = ()
    pending: tuple[Address, ...] = ()
    attempts: int = 0
    next_attempt: float | None = None
    last_reply: str = ""
    notified: bool = False


def row(listed: Listed, envelope: Envelope, history: History, now: float) -> QueueRow:
    """Combine a listing entry, an envelope and its journal."""
    state = state_of(listed.stage, history.next_attempt, now)
    return QueueRow(
        id=listed.id,
        state=state,
        arrived=arrived(listed) if history.accepted_at is None else history.accepted_at,
        size=listed.size,
        sender=envelope.sender,
        recipients=tuple(dict.fromkeys(envelope.recipients)),
        pending=history.pending(envelope),
        attempts=history.attempts,
        next_attempt=history.next_attempt if state is State.DEFERRED else None,
        last_reply=last_reply(history),
        notified=history.notified,
    )


def damaged(listed: Listed, reason: str, now: float) -> QueueRow:
    """Return the row of a message whose envelope cannot be read."""
    return QueueRow(
        id=listed.id,
        state=state_of(listed.stage, listed.since, now),
        arrived=arrived(listed),
        size=listed.size,
        last_reply=reason,
    )


def last_reply(history: History) -> str:
    """Return the reason for the message's present state."""
    if history.failed is not None:
        return str(history.failed.reason)
    return "" if history.last_attempt is None else reply_of(history.last_attempt)


def reply_of(attempt: Attempt) -> str:
    """Return the first refusal of an attempt, else the error that stopped it, else a reply."""
    refusals = [reply for reply in attempt.replies.values() if not reply.accepted]
    said = refusals or ([attempt.trouble] if attempt.trouble else list(attempt.replies.values()))
    return str(said[0]) if said else ""


def to_json(entry: QueueRow) -> dict[str, Any]:
    """Return the object that ``--json`` prints; its keys are an interface (docs/queue.md)."""
    return {
        "id": entry.id,
        "state": entry.state.value,
        "arrived": entry.arrived,
        "size": entry.size,
        "sender": entry.sender,
        "recipients": list(entry.recipients),
        "pending": list(entry.pending),
        "attempts": entry.attempts,
        "next_attempt": entry.next_attempt,
        "last_reply": entry.last_reply,
        "notified": entry.notified,
    }


def age(seconds: float) -> str:
    """Return a time span in its largest unit: ``45s``, ``12m``, ``7h``, ``3d``."""
    seconds = max(seconds, 0.0) + 0.0  # no -0
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def octets(size: int) -> str:
    """Return a size in a unit that needs at most three digits: ``512``, ``10 KiB``, ``2.5 MiB``."""
    if size < 1024:
        return str(size)
    power = min(int(math.log(size, 1024)), 4)
    value = size / 1024**power
    return f"{value:.1f} {' KMGT'[power]}iB" if value < 10 else f"{value:.0f} {' KMGT'[power]}iB"
