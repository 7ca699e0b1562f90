"""Restores the messages' files from the log that a crash has left.

Only the first opener of a spool does this, before anything is claimed. It can be repeated: a file
that shows the same as the log, or something later, is only written anew with the same octets. They
may be in the page cache alone: after a failed write-back ext4 keeps them there as if they were on
the disk, and no read or later sync tells the difference.
"""

import contextlib
import os
import stat as modes
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from emailrelay import envelope_format, journal, journal_format
from emailrelay.errors import DamagedMessage
from emailrelay.events.store import Recovered
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import file_octets, files, locks, names, regular_files
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.durable.segment import Segment
from emailrelay.store.spool.message import adoption
from emailrelay.store.spool.message.draft import is_taken, roll_forward
from emailrelay.store.spool.message.spool import Spool

_MADE = "made"
"""In the log's directory: a file that is completed before it gets its name."""


@dataclass(frozen=True, slots=True)
class Content:
    """The location of a message's content in the log."""

    segment: Segment
    offset: int
    length: int

    def read(self) -> bytes:
        """Read it."""
        return os.pread(self.segment.descriptor, self.length, self.offset)


@dataclass(frozen=True, slots=True)
class LastState:
    """The last record of a message; ``stage`` None: it is gone."""

    stage: Stage | None
    envelope: bytes
    contents: Sequence[Content]
    """All that the log has, the oldest first: as accepted, and as filters have made it."""


def last_states(segments: Iterable[Segment]) -> dict[QueueId, LastState]:
    """Return the last state of each message; the segments are in order."""
    last: dict[QueueId, LastState] = {}
    contents: dict[QueueId, list[Content]] = {}
    for segment in segments:
        for read in segment.read():
            if not names.is_id(read.id):  # a member of the group may write anything
                continue
            known = contents.setdefault(read.id, [])
            if read.content is not None:
                known.append(Content(segment, read.offset, read.content))
            last[read.id] = LastState(read.stage, read.envelope, known)
    return last


def apply(spool: Spool, message: QueueId, state: LastState) -> None:
    """Make a message's files show its last record, unless they show that or something later."""
    if state.stage is None:
        changed = _remove(spool, message)
    else:
        changed = _restore(spool, message, state.stage, state)
    if changed:
        spool.report(Recovered(id=message, what="restored from the log"))


def _restore(spool: Spool, message: QueueId, stage: Stage, state: LastState) -> bool:
    """Restore a message that the log does not show as gone; True if that changed anything."""
    if _content_of(_history(state.envelope), state.contents) is None:
        _finish_draft(spool, message)
    else:
        _remove_draft(spool, message)
    changed = _note(spool, message, stage, state.envelope)
    found = spool.stage_of(message)
    final = state.envelope if found is None else _read(spool.envelope(message, found))
    history = _history(final)
    octets = _content_of(history, state.contents)
    if found is not None:
        _write_anew(spool, spool.envelope(message, found))
    left = _judge(spool, message, final, in_log=octets is not None)
    if left in (_Left.NOTED, _Left.PENDING):
        if found is None:
            _put(spool, state.envelope, spool.envelope(message, stage))
        if left is _Left.NOTED:
            adoption.finish(spool, message)
            _put_content(spool, message, octets)
        return changed or found is None or left is _Left.NOTED
    if left is _Left.VOID:
        adoption.discard(spool, message)
    if octets is None:  # only files have it: it is large, or its record is gone
        return changed
    changed = _put_content(spool, message, octets) or changed
    if found is None:
        _put(spool, state.envelope, spool.envelope(message, stage))
    return changed or found is None


def _put_content(spool: Spool, message: QueueId, octets: bytes | None) -> bool:
    """Write a content that the log has, in any case; True if the file had other octets.

    Only files have a content of None: they were synced.
    """
    if octets is None:
        return False
    at = spool.content(message)
    if _measured(at) != (len(octets), zlib.crc32(octets)):
        _put(spool, octets, at)
        return True
    _write_anew(spool, at)
    return False


class _Left(Enum):
    """What the result that a dead filterd has left is to a message."""

    NOTED = auto()
    """It is the message: a claim would find the old content."""
    PENDING = auto()
    """The next claim makes it the message."""
    VOID = auto()
    """Its files are torn, since the log had it; or the log has what came later."""
    UNKNOWN = auto()
    """It may be pending; the next claim can read it."""


def _judge(spool: Spool, message: QueueId, final: bytes, *, in_log: bool) -> _Left | None:
    """Judge a result by what it records of itself; None: there is none.

    ``final``: the message's last envelope. ``in_log``: the log has the content that belongs to it.
    """
    if not adoption.is_left(spool, message):
        return None
    before = _history(final).stage is Stage.UNFILTERED
    try:
        result = adoption.whole_result(spool, message, final)
    except OSError as error:  # filterd runs as another user, or the disk cannot read it
        if not in_log and not before:
            spool.trouble(f"finish the adoption of {message}, whose content has no name", error)
            return _Left.PENDING
        return _Left.UNKNOWN if before else _Left.VOID
    if result is None:
        return _Left.VOID
    if is_later(final, result):
        return _Left.NOTED
    return _Left.PENDING if before or not in_log else _Left.VOID


def _remove(spool: Spool, message: QueueId) -> bool:
    _remove_draft(spool, message)
    removed = False
    for path in (*(spool.envelope(message, stage) for stage in Stage), spool.content(message)):
        if files.is_there(path):
            files.remove(path)
            removed = True
    return removed


def _remove_draft(spool: Spool, message: QueueId) -> None:
    """Remove the names of the draft, which a power cut may have restored."""
    files.remove(spool.directories.drafts / names.content(message))
    files.remove(spool.directories.drafts / names.draft_envelope(message))


def _finish_draft(spool: Spool, message: QueueId) -> None:
    """Complete a draft that was committed as files: a power cut may have undone its renames."""
    path = spool.directories.drafts / names.draft_envelope(message)
    with locks.held(path) as draft:
        if draft is None:
            return
        taken = spool.stage_of(message) is not None
        if spool.root.in_sticky_spool():
            taken = is_taken(spool, message, os.fstat(draft).st_uid)
        if not taken:
            roll_forward(spool, message, draft)
        else:
            _remove_draft(spool, message)


def _note(spool: Spool, message: QueueId, stage: Stage, envelope: bytes) -> bool:
    """Bring a present envelope up to the record; True if that changed anything."""
    found = spool.stage_of(message)
    if found is None:
        return False
    here, there = spool.envelope(message, found), spool.envelope(message, stage)
    current = _read(here)
    if current != envelope and (is_later(current, envelope) or _is_set_aside(current, envelope)):
        return False
    if current != envelope:
        _put(spool, envelope, here)
    elif found is stage or (found is Stage.HELD and _history(current).moving is None):
        # Perhaps held by hand, which adds no line. The end of a move adds none, either.
        return False
    if here != there:
        files.rename(here, there)
    return True


def is_later(current: bytes, logged: bytes) -> bool:
    """Tell if an envelope file is whole and holds every line of the journal that the log has."""
    if current.startswith(logged):
        return True
    try:
        here = envelope_format.parse(current).tail
        logged_tail = envelope_format.parse(logged).tail
    except DamagedMessage:
        return False
    return set(logged_tail.splitlines()) <= set(here.splitlines())


def _is_set_aside(current: bytes, logged: bytes) -> bool:
    """Tell if a message was held or failed after a record that a kill kept out of its files."""
    history = _history(current)
    return (history.held or history.failed is not None) and not is_later(logged, current)


def _history(envelope: bytes) -> History:
    """Read an envelope's journal; of a damaged one, nothing."""
    try:
        return journal_format.history(envelope_format.parse(envelope).tail)
    except DamagedMessage:
        return journal.read(())


def _content_of(history: History, contents: Sequence[Content]) -> bytes | None:
    """Return the content that a journal records."""
    for content in reversed(contents):
        if content.length == history.length:
            octets = content.read()
            if zlib.crc32(octets) == history.crc32:
                return octets
    return None


def _read(path: Location) -> bytes:
    """Read an envelope; one that the disk cannot read is nothing, so that the log's replaces it."""
    try:
        return regular_files.read(path) or b""
    except PermissionError:
        raise
    except OSError:
        return b""


def _measured(at: Location) -> tuple[int, int] | None:
    """Measure a content; None: it is none, or the disk cannot read it."""
    try:
        return regular_files.measured(at)
    except PermissionError:
        raise
    except OSError:
        return None


def _write_anew(spool: Spool, at: Location) -> None:
    """Replace a file by a new one with the same octets, mode and time."""
    octets = regular_files.read(at)
    if octets is None:
        return
    # Another user's file in a sticky directory cannot be replaced.
    with contextlib.suppress(PermissionError):
        _put(spool, octets, at, files.status_of(at))


def _put(spool: Spool, octets: bytes, path: Location, like: os.stat_result | None = None) -> None:
    """Write a whole file, then rename it into place; ``like``: with this mode and time."""
    made = spool.directories.log / _MADE
    files.remove(made)
    descriptor = files.create(made)
    try:
        file_octets.write_all(descriptor, octets)
        if like is not None:
            os.fchmod(descriptor, modes.S_IMODE(like.st_mode))
            os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))
    finally:
        os.close(descriptor)
    try:
        files.rename(made, path)
    except OSError:
        files.remove(made)
        raise
