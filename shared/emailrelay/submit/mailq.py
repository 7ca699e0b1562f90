"""The short list of the queue that ``mailq`` prints."""

import os
import time
from collections.abc import Iterator

from emailrelay import envelope_format, journal
from emailrelay.errors import DamagedMessage, reason_of
from emailrelay.schedule import is_due
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import Directory, Location


def lines(root: str, now: float) -> Iterator[str]:
    """Yield the lines to print, oldest message first. ``now``: seconds since 1970.

    Raises:
        OSError: the spool cannot be read.

    """
    spool = Directory(root, makes=False)
    entries = sorted(
        (entry for name in files.listed(spool) if (entry := names.parse(name))), key=_arrival
    )
    shown = [story for entry in entries if (story := list(_story(spool, entry, now)))]
    if not shown:
        yield "Mail queue is empty"
        return
    for story in shown:
        yield from story
    count = "1 message" if len(shown) == 1 else f"{len(shown)} messages"
    yield f"-- {count}; emailrelay-queue shows more"


def _arrival(entry: names.EnvelopeName) -> tuple[int, ...]:
    return tuple(int(group) if group.isdecimal() else 0 for group in entry.id.split("."))


def _story(spool: Directory, entry: names.EnvelopeName, now: float) -> Iterator[str]:
    """Yield the lines of one message; none if it has left meanwhile."""
    path = spool / names.envelope(entry.id, entry.stage)
    try:
        octets = _read(path)
        if octets is None:
            return
        file = envelope_format.parse(octets)
    except (DamagedMessage, OSError) as error:
        yield f"{entry.id} - {entry.stage} (cannot be read: {reason_of(error, str(path))})"
        return
    history = journal.read(journal.parse(file.tail))
    state = _state(entry.stage, history, now)
    yield f"{entry.id} {_arrived(history)} {state} from <{file.envelope.sender}>"
    if told := _last(entry.stage, history):
        yield f"    ({told})"
    for address in history.pending(file.envelope) or file.envelope.recipients:
        yield f"    {address}"


def _read(path: Location) -> bytes | None:
    """Read an envelope file; None: it has left meanwhile.

    Raises:
        OSError: it cannot be read, or is not a regular file.

    """
    descriptor = files.open_regular(path)
    if descriptor is None:
        if files.is_there(path):
            raise OSError("not a regular file")
        return None
    try:
        return files.read_all(descriptor)
    finally:
        os.close(descriptor)


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
