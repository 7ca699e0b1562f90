"""The short list of the queue that ``mailq`` prints."""

import time
from collections.abc import Iterator

from emailrelay import journal
from emailrelay.schedule import is_due
from emailrelay.stage import Stage
from emailrelay.store.queue_entry import QueueEntry
from emailrelay.store.quick_chooser import queue_at


def lines(where: str, now: float) -> Iterator[str]:
    """Yield the lines to print, oldest message first. ``now``: seconds since 1970.

    Raises:
        OSError, StoreError: the store cannot be read.

    """
    count = 0
    for count, entry in enumerate(queue_at(where), 1):  # noqa: B007 - counted to the end
        yield from _story(entry, now)
    if not count:
        yield "Mail queue is empty"
        return
    shown = "1 message" if count == 1 else f"{count} messages"
    yield f"-- {shown}; emailrelay-queue shows more"


def _story(entry: QueueEntry, now: float) -> Iterator[str]:
    """Yield the lines of one message."""
    history = entry.history
    if entry.envelope is None:
        yield f"{entry.id} - {entry.stage} (cannot be read: {entry.problem})"
        return
    state = _state(entry.stage, history, now)
    yield f"{entry.id} {_arrived(history)} {state} from <{entry.envelope.sender}>"
    if told := _last(entry.stage, history):
        yield f"    ({told})"
    for address in history.pending(entry.envelope) or entry.envelope.recipients:
        yield f"    {address}"


def _state(stage: Stage, history: journal.History, now: float) -> str:
    """Return the state in the words of ``emailrelay-queue``."""
    when = history.next_attempt
    if stage not in (Stage.READY, Stage.UNFILTERED) or when is None or is_due(when, now):
        return stage.value
    return f"deferred until {_moment(when)}"


def _last(stage: Stage, history: journal.History) -> str:
    """Return the result of the last try, or the reason of the failure."""
    if stage is Stage.FAILED and history.failed is not None:
        return str(history.failed.reason)
    attempt = history.last_attempt
    if attempt is None:
        return ""
    refusals = (reply for reply in attempt.replies.values() if not reply.accepted)
    said = attempt.trouble or next(refusals, None) or next(iter(attempt.replies.values()), None)
    return ": ".join(str(part) for part in (attempt.peer, said) if part)


def _arrived(history: journal.History) -> str:
    if history.accepted_at is None:
        return "-"
    return _moment(history.accepted_at)


def _moment(when: float) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(when))
    except (OverflowError, ValueError, OSError):  # a journal may hold any number
        return f"@{when:g}"
