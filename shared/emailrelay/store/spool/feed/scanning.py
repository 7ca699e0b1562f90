"""Reading the due times of one stage's messages from the names and times in the spool directory.

Two states of the directory show if it has changed, so that an unchanged one is not read again.
"""

import os
import time
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from emailrelay.schedule import is_due, was_set_back
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.wake.index import Scheduled, scheduled

_CLOCK_GRAIN = 20_000_000
"""Nanoseconds: two changes of a directory so close together may carry the same time."""
_STRETCH = 2000
"""Names that are read at a time; between two stretches the loop does other work."""


class DirectoryState(NamedTuple):
    """The inode of a directory, and its last change in nanoseconds since 1970 (0: unknown)."""

    inode: int
    changed: int


def directory_state(path: str) -> DirectoryState | None:
    """Return the state of a directory; None: it cannot be reached."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return DirectoryState(status.st_ino, status.st_mtime_ns)


def settled(state: DirectoryState | None) -> DirectoryState | None:
    """Return a state to compare the next one with. A very recent time may hide another change."""
    if state is not None and time.time_ns() - state.changed < _CLOCK_GRAIN:
        return state._replace(changed=0)
    return state


def read_stretches(directory: Directory, stage: Stage, now: float) -> Iterator[list[Scheduled]]:
    """List a stage's messages with their due times, by names and file times alone. Blocks.

    Raises:
        OSError: the directory cannot be read.

    """
    ending = names.ending(stage)
    with files.scanned(directory) as entries:
        while stretch := list(islice(entries, _STRETCH)):
            found: list[Scheduled] = []
            for item in stretch:
                # Half of the names are contents: with a million messages each microsecond is a
                # second.
                if not item.name.endswith(ending):
                    continue
                entry = names.parse(item.name)
                if entry is None or entry.stage is not stage:
                    continue
                try:
                    status = item.stat(follow_symlinks=False)
                except OSError:  # renamed or removed since
                    continue
                found.append(scheduled(entry.id, due_time(status, now)))
            yield found


def due_time(status: os.stat_result, now: float) -> float:
    """Return the due time (seconds since 1970) that the times of an envelope file give."""
    if status.st_mtime <= now >= status.st_ctime:
        return status.st_mtime  # the result of the rules below for all past times, which most are
    return now if was_set_back(status.st_ctime, now) else plausible(status.st_mtime, now)


def plausible(due: float, now: float) -> float:
    """Return a due time that the index can sort by; an implausible one means now."""
    return min(due, now) if is_due(due, now) else due
