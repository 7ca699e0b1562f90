"""The queue at a glance, for those who type ``mailq``."""

import os
import time
from collections.abc import Iterator

from emailrelay import envelope_format, journal
from emailrelay.errors import DamagedMessage
from emailrelay.stage import Stage
from emailrelay.store.spool import files, names
from emailrelay.store.spool.directory import Directory


def lines(root: str) -> Iterator[str]:
    """Give the lines to print, oldest message first.

    Raises:
        OSError: the spool cannot be read.

    """
    spool = Directory(root, makes=False)
    entries = sorted(
        (entry for name in files.listed(spool) if (entry := names.parse(name))), key=_arrival
    )
    shown = [story for entry in entries if (story := list(_story(spool, entry)))]
    if not shown:
        yield "Mail queue is empty"
        return
    for story in shown:
        yield from story
    yield f"-- {len(shown)} messages; emailrelay-queue tells more"


def _arrival(entry: names.Entry) -> tuple[int, ...]:
    return tuple(int(group) if group.isdecimal() else 0 for group in entry.id.split("."))


def _story(spool: Directory, entry: names.Entry) -> Iterator[str]:
    """Tell one message; nothing if it has left meanwhile."""
    descriptor = files.open_regular(spool / names.envelope(entry.id, entry.stage))
    if descriptor is None:
        return
    try:
        file = envelope_format.parse(files.read_all(descriptor))
    except DamagedMessage as error:
        yield f"{entry.id} {entry.stage} ({error})"
        return
    finally:
        os.close(descriptor)
    history = journal.read(journal.parse(file.tail))
    yield f"{entry.id} {_arrived(history)} {entry.stage} from <{file.envelope.sender}>"
    attempt = history.last_attempt
    if entry.stage is Stage.FAILED and history.failed is not None:
        yield f"    ({history.failed.reason})"
    elif attempt is not None:
        said = attempt.trouble or next(iter(attempt.replies.values()), "")
        yield f"    ({attempt.peer}: {said})"
    for address in history.pending(file.envelope) or file.envelope.recipients:
        yield f"    {address}"


def _arrived(history: journal.History) -> str:
    if history.accepted_at is None:
        return "-"
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(history.accepted_at))
