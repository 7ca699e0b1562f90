"""Searches the files of the history, a piece at a time.

An id contains the time of its arrival, so its record is in the file of that day or a later one, and
after the place of that time: the records are nearly in the order of their ends. For other texts
all files are read, from the end of the newest backwards.
"""

import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from emailrelay import history_record
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import EndedMessage, PastMessage
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import uuid_of
from emailrelay.store.mail_history import SearchStep
from emailrelay.store.spool.disk import files, regular_files
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.history import day_files
from emailrelay.store.spool.history.day_files import DayFile

_PIECE = 2 * history_record.LARGEST
"""Octets read at a time: more than a record has."""
_PASSED_OVER = 64 * 1024 * 1024
"""Octets without a line end that are passed over. The rest of such a file is not read: a member of
the spool's group can make a file of many TB that takes no room on the disk."""
_SLACK = 300.0
"""Seconds by which the order of records may differ from that of their ends."""
_ENDED = re.compile(rb'\{"v":[0-9]+,"id":"[^"\n]*","ended":([0-9]{1,12}(?:\.[0-9]{1,9})?)[,}]')
_PROBE = 64 * 1024
_STRANGE = "it is not a regular file, or has a second name: it was not read"
_NO_END = f"it has {_PIECE >> 20} MiB or more without a line end, which were passed over"
_DAMAGED = "it has damaged records, or those of another release, which were passed over"
_FURTHER = 8 * 1024 * 1024
"""Octets read behind the record of an id: after a crash a message may have two."""


class SearchPiece(NamedTuple):
    """The finds of one piece of a file, newest first, and the progress."""

    found: list[PastMessage]
    step: SearchStep


def search(directory: Directory, wanted: HistoryQuery) -> Iterator[SearchPiece]:
    """Search the files piece by piece. Blocks.

    Raises:
        OSError: a file cannot be read.

    """
    places = day_files.listed(directory)
    if wanted.since is not None:
        first = day_files.day_of(wanted.since)
        places = [each for each in places if each.day >= first]
    arrived = None if wanted.id is None else _arrival(wanted.id)
    if arrived is None:
        yield from _backwards(directory, places, wanted)
        return
    day, before = day_files.day_of(arrived), day_files.day_of(arrived - 86400)
    for piece in _forwards(directory, [p for p in places if p.day >= day], wanted, arrived):
        yield piece
        if piece.found:
            return
    # The clock may have been set back since the message arrived.
    yield from _backwards(directory, [p for p in places if before <= p.day <= day], wanted)


def ends(directory: Directory, since: float) -> Iterator[list[EndedMessage]]:
    """Yield the ends of messages at or after ``since``, piece by piece, the newest first. Blocks.

    Raises:
        OSError: a file cannot be read.

    """
    first = day_files.day_of(since)
    for place in reversed([each for each in day_files.listed(directory) if each.day >= first]):
        with _opened(directory, place) as descriptor:
            if descriptor is None:
                continue
            for block in _pieces_back(descriptor):
                found = list(history_record.ends_in(block))
                yield [each for each in found if each.ended >= since]
                if found and max(each.ended for each in found) < since - _SLACK:
                    return


def _arrival(message: QueueId) -> float | None:
    return None if uuid_of(message) is None else int(message.partition(".")[0]) / 1000


def _backwards(
    directory: Directory, places: list[DayFile], wanted: HistoryQuery
) -> Iterator[SearchPiece]:
    done, total = 0, sum(_size(directory, place) for place in places)
    needle = wanted.needle
    for place in reversed(places):
        with _opened(directory, place) as descriptor:
            if descriptor is None:
                yield from _strange(directory, place, done, total)
                continue
            for block in _pieces_back(descriptor):
                found, unread = _found(block, block.lower(), needle, wanted)
                done += len(block)
                yield SearchPiece(found[::-1], _step(place, done, total, unread))


def _forwards(
    directory: Directory, places: list[DayFile], wanted: HistoryQuery, arrived: float
) -> Iterator[SearchPiece]:
    """Search for an id; the last piece has all records of it, if there are any."""
    done, total = 0, sum(_size(directory, place) for place in places)
    needle = b'"id":"%s"' % str(wanted.id).encode()
    for place in places:
        with _opened(directory, place) as descriptor:
            if descriptor is None:
                yield from _strange(directory, place, done, total)
                continue
            found, further = list[PastMessage](), 0
            for block in _pieces(descriptor, _place_of(descriptor, arrived - _SLACK)):
                further += len(block) if found else 0
                more, unread = _found(block, block, needle, wanted)
                found += more
                done += len(block)
                yield SearchPiece([], _step(place, done, total, unread))
                if further >= _FURTHER:
                    break
            if found:
                yield SearchPiece(found[::-1], _step(place, done, total))
                return


def _strange(directory: Directory, place: DayFile, done: int, total: int) -> Iterator[SearchPiece]:
    """Yield a step that tells of a place that cannot be opened, unless it has gone."""
    with suppress(FileNotFoundError):
        files.status_of(directory / place.name)
        yield SearchPiece([], _step(place, done, total, _STRANGE))


def _step(place: DayFile, done: int, total: int, unread: str = "") -> SearchStep:
    return SearchStep(place=place.name, done=done, total=max(done, total), unread=unread)


def _size(directory: Directory, place: DayFile) -> int:
    try:
        return files.status_of(directory / place.name).st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _opened(directory: Directory, place: DayFile) -> Generator[int | None]:
    """Open a file; None: it has gone, or is a link or no regular file."""
    descriptor = regular_files.open_regular(directory / place.name)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _pieces(descriptor: int, start: int) -> Iterator[bytes]:
    """Yield whole lines; nothing for a piece of a longer line, which is passed over."""
    passed = 0
    while passed < _PASSED_OVER and (block := os.pread(descriptor, _PIECE, start)):
        end = block.rfind(b"\n") + 1
        if end or len(block) == _PIECE:  # else it is a torn line at the end of the file
            yield block[:end]
        passed = 0 if end else passed + len(block)
        start += end or len(block)


def _pieces_back(descriptor: int) -> Iterator[bytes]:
    """Yield whole lines, from the end of the file on; see ``_pieces``."""
    end, passed = os.fstat(descriptor).st_size, 0
    while end > 0 and passed < _PASSED_OVER:
        start = max(0, end - _PIECE)
        block = os.pread(descriptor, end - start, start)
        if not block:
            return  # it has become shorter
        begin = block.find(b"\n", 0, -1) + 1 if start else 0
        yield block[begin:] if begin or not start else b""
        passed = 0 if begin else passed + len(block)
        end = start + begin


def _found(
    block: bytes, text: bytes, needle: bytes, wanted: HistoryQuery
) -> tuple[list[PastMessage], str]:
    """Return the messages of the lines in ``block`` whose ``text`` has the needle.

    The second value is the reason why something was passed over, or empty. No block is empty but
    that of a line without an end.
    """
    found: list[PastMessage] = []
    unread = "" if block else _NO_END
    at = text.find(needle)
    while 0 <= at < len(text):  # an empty needle is also found behind the last line
        begin = text.rfind(b"\n", 0, at) + 1
        end = text.find(b"\n", at)
        end = len(text) if end < 0 else end
        message = history_record.read(block[begin:end])
        if message is None:
            unread = _DAMAGED
        elif wanted.matches(message):
            found.append(message)
        at = text.find(needle, end + 1)
    return found, unread


def _place_of(descriptor: int, moment: float) -> int:
    """Return an offset behind which all records have ended at ``moment`` or later."""
    low, high = 0, os.fstat(descriptor).st_size
    while high - low > _PIECE:
        middle = (low + high) // 2
        match = _ENDED.search(os.pread(descriptor, _PROBE, middle))
        if match is None or float(match[1]) >= moment:
            high = middle
        else:
            low = middle
    return low
