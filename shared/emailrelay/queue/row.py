"""One message in a listing, for people and as JSON."""

from dataclasses import dataclass

from emailrelay.envelope import Address
from emailrelay.journal import Attempt, History
from emailrelay.queue.state import State, state_of
from emailrelay.queue_id import QueueId
from emailrelay.store.queue_view import QueueEntry, arrived


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """The facts of one message. Times are seconds since 1970.

    ``--json`` prints these fields as an object: their names are an interface (docs/queue.md).
    """

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


def row(entry: QueueEntry, now: float) -> QueueRow:
    """Return the row of an entry of the queue."""
    listed, envelope = entry.listed, entry.envelope
    if envelope is None:
        return QueueRow(
            id=listed.id,
            state=state_of(listed.stage, listed.since, now),
            arrived=arrived(listed),
            size=listed.size,
            last_reply=entry.problem,
        )
    history = entry.history
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


def last_reply(history: History) -> str:
    """Return the reason for the message's present state."""
    if history.failed is not None:
        return str(history.failed.reason)
    if history.held_for:
        return history.held_for
    return "" if history.last_attempt is None else reply_of(history.last_attempt)


def reply_of(attempt: Attempt) -> str:
    """Return the first refusal of an attempt, else the error that stopped it, else a reply."""
    refusals = [reply for reply in attempt.replies.values() if not reply.accepted]
    said = refusals or ([attempt.trouble] if attempt.trouble else list(attempt.replies.values()))
    return str(said[0]) if said else ""
