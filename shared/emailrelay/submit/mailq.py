"""The short list of the queue that ``mailq`` prints."""

import time
from collections.abc import Iterator

from emailrelay import journal, spool_dir
from emailrelay.errors import StoreError
from emailrelay.schedule import is_due
from emailrelay.stage import Stage
from emailrelay.store.queue_view import QueueEntry
from emailrelay.store.quick_chooser import view_at


def lines(where: str, now: float) -> Iterator[str]:
    """Yield the lines to print, oldest message first. ``now``: seconds since 1970.

    Raises:
        OSError, StoreError: the store cannot be read.

    """
    count = 0
    with view_at(where, fallback=spool_dir.fallback()) as view:
        for count, entry in enumerate(view.entries(view.listing()), 1):  # noqa: B007 - counted to the end
            yield from _story(entry, now)
        if view.missing is not None:
            raise StoreError("list the database, only the fallback is shown", view.missing)
    if not count:
        yield "Mail queue is empty"
        return
    shown = "1 message" if count == 1 else f"{count} messages"
    yield f"-- {shown}; emailrelay-queue shows more"


def _story(entry: QueueEntry, now: float) -> Iterator[str]:
    """Yield the lines of one message."""
    message, history = entry.listed, entry.history
    if entry.envelope is None:
        yield f"{message.id} - {message.stage} (cannot be read: {entry.problem})"
        return
    state = _state(message.stage, history, now)
    yield f"{message.id} {_arrived(history)} {state} from <{entry.envelope.sender}>"
    if told := _last(message.stage, history):
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
