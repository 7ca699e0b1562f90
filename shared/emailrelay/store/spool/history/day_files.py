"""The files of the history, and the removal of those that are beyond its bounds.

``.history/2026-11-29.jsonl`` gets the records of that day (in UTC). When it is large, it becomes
``2026-11-29.0001.jsonl`` and another file begins. Whole files are removed, the oldest first.
"""

import contextlib
import datetime as dt
import math
import os
import re
import stat
from typing import NamedTuple

from emailrelay.store.mail_history import NO_HISTORY, HistoryBounds
from emailrelay.store.spool.disk import file_octets, files, locks, regular_files
from emailrelay.store.spool.disk.directory import Directory, Location

_NAME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:\.([0-9]{4,9}))?\.jsonl")
_BOUNDS = "bounds"
_BOUNDS_LINE = re.compile(rb"([0-9]{1,9}) days, ([0-9]{1,18}) octets\n")
_PARTS = 8
"""A file is closed when it has this part of all octets that the history may take."""
_LEAST = 64 * 1024
"""Octets that a file has at least before it is closed."""


class DayFile(NamedTuple):
    """A file of the history. They sort from the oldest to the newest."""

    day: str
    """As ``2026-11-29``."""
    part: float
    """1, 2, ... for files that are closed; infinity for the file that gets records."""
    name: str


def day_of(moment: float) -> str:
    """Return the day of a time (seconds since 1970), as in the names of files."""
    try:
        return dt.datetime.fromtimestamp(moment, dt.UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):  # a queue id may have any number
        return "9999-12-31" if moment > 0 else "0001-01-01"


def current(day: str) -> str:
    """Return the name of the file that gets the records of a day."""
    return f"{day}.jsonl"


def parse(name: str) -> DayFile | None:
    """Read a name; None: it is not a file of the history."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return DayFile(match[1], math.inf if match[2] is None else int(match[2]), name)


def listed(directory: Directory) -> list[DayFile]:
    """List the files, oldest first; none if there is no directory."""
    try:
        found = map(parse, files.listed(directory))
        return sorted(each for each in found if each is not None)
    except FileNotFoundError:
        return []


def close_large(descriptor: int, directory: Directory, name: str, bounds: HistoryBounds) -> bool:
    """Rename the open file of a day if it is large, and return whether it has another name now.

    Other processes go on with it until they look at its name again.
    """
    if os.fstat(descriptor).st_size < max(bounds.octets // _PARTS, _LEAST):
        return False
    at = directory / name
    if not locks.try_lock(descriptor):
        return False  # another process does it now
    try:
        if not locks.is_named(descriptor, at):
            return True
        day = name.partition(".")[0]
        parts = [each.part for each in listed(directory) if each.day == day]
        last = max((part for part in parts if part != math.inf), default=0)
        files.rename(at, directory / f"{day}.{last + 1:04.0f}.jsonl")
        return True
    finally:
        locks.unlock(descriptor)


def trim(directory: Directory, bounds: HistoryBounds, now: float) -> None:
    """Remove the files beyond the bounds, oldest first; the file of today stays.

    A directory with the name of a file is not ours, and stays.

    Raises:
        OSError: one cannot be removed.

    """
    found = listed(directory)
    kept = current(day_of(now))
    oldest = day_of(now - bounds.days * 86400)
    sizes = {each: _size(directory / each.name) for each in found}
    total = sum(size or 0 for size in sizes.values())
    for each, size in sizes.items():
        if size is None:
            continue
        beyond = each.day < oldest or total > bounds.octets
        if bounds.off or (beyond and each.name != kept):
            files.remove(directory / each.name)
            total -= size


def _size(at: Location) -> int | None:
    """Return the octets of a file, 0 for other kinds; None for a directory."""
    try:
        status = files.status_of(at)
    except FileNotFoundError:
        return 0
    if stat.S_ISDIR(status.st_mode):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def read_bounds(directory: Directory) -> HistoryBounds | None:
    """Read the bounds; None: there are none, or none that can be read."""
    try:
        descriptor = regular_files.open_regular(directory / _BOUNDS)
    except FileNotFoundError:
        return None
    if descriptor is None:
        return None
    try:
        match = _BOUNDS_LINE.fullmatch(os.pread(descriptor, 100, 0))
    finally:
        os.close(descriptor)
    return None if match is None else HistoryBounds(int(match[1]), int(match[2]))


def write_bounds(directory: Directory, bounds: HistoryBounds) -> None:
    """Put the bounds into their file, whole or not at all; without a sync, as the history.

    Raises:
        OSError: the directory refuses.

    """
    if bounds == (read_bounds(directory) or NO_HISTORY) and not bounds.off:
        return
    fresh = directory / f"{_BOUNDS}.{os.getpid()}"
    files.remove(fresh)
    descriptor = files.create(fresh)
    try:
        file_octets.write_all(descriptor, b"%d days, %d octets\n" % (bounds.days, bounds.octets))
        os.close(descriptor)
        files.rename(fresh, directory / _BOUNDS)
    except OSError:
        with contextlib.suppress(OSError):
            files.remove(fresh)
        raise
