"""The result of filter programs becomes the message.

The result is synced in its directory. The directory is renamed from ``ID.run-PROCESS`` to
``ID.adopt``, and that name is synced: *this commits the result*. From there any holder of the
message's lock completes the adoption, any number of times, and does not run the chain again.

With the log, the record of the result commits it, and nothing else is synced (``opening/replay``).
"""

import os
import zlib
from contextlib import ExitStack
from typing import NamedTuple

from emailrelay import envelope_format, journal_format, message_id
from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.journal import Wished
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Pass
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.spool.disk import file_octets, files, locks, names, regular_files
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.disk.threads import in_thread
from emailrelay.store.spool.durable.durability import Durability, Result
from emailrelay.store.spool.durable.jobs import NotRecorded
from emailrelay.store.spool.message.moves import Locked
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.message.work_copy import (
    SpoolCopy,
    make_private,
    open_left,
    read_left,
)
from emailrelay.store.transition import Change

_RESULT = "result"
"""In an adopted copy: the envelope that the message will have."""
_OWN = "own"
"""In a copy to be adopted: a content that is being made without other links."""
_SMALL = 256 * 1024
"""Octets that are measured within the page cache at once; a thread costs more, as its system calls
and the loop wait for each other."""


class _Prepared(NamedTuple):
    """The new files, open, and what need not be read from them again."""

    result: Result
    read: int
    """Octets of the old envelope whose journal the new one has."""


class Replacement(NamedTuple):
    """A message as filters that need no files have changed it. Its journal is the original's."""

    envelope: Envelope
    content: bytes


async def adopt(locked: Locked, copy: SpoolCopy, passed: Pass, durability: Durability) -> None:
    """Make the copy's files the message: S1, W -> W+ -> S2, or S4 for a quarantine."""
    with ExitStack() as opened:
        try:
            if files.status_of(copy.content).st_size <= _SMALL:
                prepared = _prepare(locked, copy, passed, opened)
            else:
                prepared = await in_thread(_prepare, locked, copy, passed, opened)
        except OSError as error:
            raise NotRecorded.because(error) from error
        await _Adoption(locked, copy.at, prepared, opened).run(durability)


async def replace(locked: Locked, new: Replacement, passed: Pass, durability: Durability) -> None:
    """Do ``adopt`` for a small message that is in no files yet."""
    at, directory = make_private(locked)
    try:
        with ExitStack() as opened:
            prepared = _write(locked, directory, new, passed, opened)
            await _Adoption(locked, at, prepared, opened).run(durability)
    except BaseException:
        directory.close()
        files.remove_tree(at)  # once it is committed, it has another name
        raise


class _Adoption:
    """The steps from a result to the message."""

    def __init__(
        self, locked: Locked, at: Location, prepared: _Prepared, opened: ExitStack
    ) -> None:
        self._locked, self._at, self._prepared, self._opened = locked, at, prepared, opened
        self._adopted = locked.spool.directories.work / names.adopted_copy(locked.id)
        self._directory: Directory | None = None
        """The directory of the result under its new name."""
        self._logged = False

    async def run(self, durability: Durability) -> None:
        """Do all of them."""
        result, spool = self._prepared.result, self._locked.spool
        durability = durability.for_content(result.length)
        self._logged = durability.records
        places = spool.directories.work, spool.root
        try:
            await durability.adopt(result, places, self._name, self._show)
        finally:
            if self._directory is not None:
                self._directory.close()
        _remove(self._adopted)

    def _name(self) -> None:
        """Show that the result is the message: W -> W+. Close its files where no watcher sees."""
        files.rename(self._at, self._adopted)
        self._directory = self._prepared.result.directory.renamed(self._adopted.name)
        self._opened.close()

    def _show(self) -> None:
        """Make the result the message: W+ -> S2 or S4."""
        if self._directory is None:
            raise RuntimeError("a result is shown before it has its name")
        _move_into_place(self._locked, self._directory, self._prepared, logged=self._logged)


def _prepare(locked: Locked, copy: SpoolCopy, passed: Pass, opened: ExitStack) -> _Prepared:
    """Put the new envelope beside the copy's content; ``opened`` closes both."""
    old, left = file_octets.read_all(locked.descriptor), read_left(copy.envelope)
    try:
        file = envelope_format.parse(left)
    except DamagedMessage as error:
        raise StoreError(f"adopt {copy.files.envelope}", str(error)) from error
    if copy.has_others:
        _clear(copy)
    content = _own_content(copy, opened)
    length, crc32 = file_octets.measure(content)
    beginning = os.pread(content, message_id.BEGINNING, 0)
    fields = file.envelope._replace(message_id=message_id.of_content(beginning))
    # The journal is the original's: a program can change the message, not its history.
    tail = file.tail if left == old else envelope_format.tail(old)
    change = transition.after_filters(
        locked.stage, passed, length=length, crc32=crc32, now=locked.spool.clock()
    )
    octets = _new_envelope(fields, tail, change)
    envelope = _written(copy.directory / _RESULT, octets, opened)
    files.remove(copy.envelope)
    stage = change.stage or Stage.READY
    result = Result(locked.id, stage, copy.directory, content, length, None, envelope, octets)
    return _Prepared(result, len(old))


def _write(
    locked: Locked, directory: Directory, new: Replacement, passed: Pass, opened: ExitStack
) -> _Prepared:
    """Write both files of a new message; ``opened`` closes them."""
    length = len(new.content)
    content = _written(directory / names.content(locked.id), new.content, opened)
    old = file_octets.read_known(locked.descriptor, locked.whole)
    fields = new.envelope._replace(message_id=message_id.of_content(new.content))
    change = transition.after_filters(
        locked.stage,
        passed,
        length=length,
        crc32=zlib.crc32(new.content),
        now=locked.spool.clock(),
    )
    octets = _new_envelope(fields, envelope_format.tail(old), change)
    envelope = _written(directory / _RESULT, octets, opened)
    stage = change.stage or Stage.READY
    result = Result(locked.id, stage, directory, content, length, new.content, envelope, octets)
    return _Prepared(result, len(old))


def _new_envelope(fields: Envelope, tail: bytes, change: Change) -> bytes:
    """Return the new envelope with the journal of the old one."""
    lines = _whole_lines(tail) + b"".join(map(journal_format.write, change.entries))
    return envelope_format.write(fields) + lines


def _written(at: Location, octets: bytes, opened: ExitStack) -> int:
    """Write a new file; ``opened`` closes it."""
    made = files.create(at)
    opened.callback(os.close, made)
    file_octets.write_all(made, octets)
    return made


def _clear(copy: SpoolCopy) -> None:
    """Remove other files that programs have left: one may have a name that is needed."""
    for name in files.listed(copy.directory):
        found = copy.directory / name
        if found in (copy.content, copy.envelope):
            continue
        if files.is_directory(found):
            files.remove_tree(found)
        else:
            files.remove(found)


def _own_content(copy: SpoolCopy, opened: ExitStack) -> int:
    """Open the copy's content as a file with one link: a program may have kept another one."""
    path = copy.content
    content = open_left(path)
    opened.callback(os.close, content)
    status = os.fstat(content)
    if status.st_nlink > 1 or status.st_uid != os.geteuid():
        own = copy.directory / _OWN
        os.close(files.copy(content, own, status.st_size))
        files.rename(own, path)
        content = open_left(path)
        opened.callback(os.close, content)
    os.fchmod(content, copy.directory.file_mode())
    return content


def _whole_lines(tail: bytes) -> bytes:
    return tail if not tail or tail.endswith(b"\n") else tail + b"\r\n"


def _move_into_place(
    locked: Locked, adopted: Directory, known: _Prepared | None = None, *, logged: bool = False
) -> None:
    """Do the missing steps of the adoption.

    ``known``: this process has prepared it. ``logged``: the log has the new content.
    """
    spool, message = locked.spool, locked.id
    content, result = adopted / names.content(message), adopted / _RESULT
    unfiltered = spool.envelope(message, Stage.UNFILTERED)
    if not locks.is_named(locked.descriptor, unfiltered):
        raise FileNotFoundError(f"{unfiltered} was moved while its filters ran")
    if logged:
        # ext4 begins to write a file at once that replaces another.
        files.remove(locked.content)
    if known is not None or files.exists(content):
        files.rename(content, spool.content(message))
    with locks.held(result) if known is None else locks.held_alone(result) as replacement:
        # Without a replacement, an earlier try renamed it: this is the lock of the new envelope.
        if known is not None:
            stage = known.result.stage
        else:
            stage = _stage(locked.descriptor if replacement is None else replacement)
        if replacement is not None:
            _carry_wish(locked, replacement, 0 if known is None else known.read)
            files.rename(result, unfiltered)
        # W+ -> S2: one name throughout, first with the old envelope behind it, then with the new.
        files.rename(unfiltered, spool.envelope(message, stage))
    if stage is Stage.READY:
        spool.announcer.announce(Stage.READY, message)


def _remove(adopted: Location) -> None:
    """Remove the directory of a complete adoption, which is empty as a rule."""
    try:
        files.remove_directory(adopted)
    except OSError:
        files.remove_tree(adopted)


def _stage(envelope: int) -> Stage:
    """Return the stage that a new envelope has in its journal."""
    history = journal_format.history(envelope_format.parse(file_octets.read_all(envelope)).tail)
    return Stage.HELD if history.held else Stage.READY


def _carry_wish(locked: Locked, replacement: int, read: int) -> None:
    """Copy the wish that an operator appended after the old envelope was read up to ``read``."""
    if read:
        tail = file_octets.read_known(locked.descriptor, 0, read)
    else:
        tail = envelope_format.parse(file_octets.read_all(locked.descriptor)).tail
    wish = journal_format.history(tail).wish if tail else None
    if wish is not None:
        file_octets.append(
            replacement, journal_format.write(Wished(at=locked.spool.clock(), wish=wish))
        )


def is_done(spool: Spool, message: QueueId) -> bool:
    """Tell if an adoption is complete except for the removal of its directory."""
    work = spool.directories.work
    adopted = work.below(names.adopted_copy(message), makes=False)
    return not files.is_there(adopted / _RESULT) and not files.is_there(
        spool.envelope(message, Stage.UNFILTERED)
    )


def is_left(spool: Spool, message: QueueId) -> bool:
    """Tell if a dead process has left a result."""
    return files.is_directory(spool.directories.work / names.adopted_copy(message))


def whole_result(spool: Spool, message: QueueId, current: bytes) -> bytes | None:
    """Return the envelope of a result that was left; None if its files are torn.

    ``current``: the message's, which the result's may have replaced already.

    Raises:
        PermissionError: the result is another user's.

    """
    at = spool.directories.work / names.adopted_copy(message)
    adopted = at.directory.below(at.name, makes=False, private=True)
    envelope = regular_files.read(adopted / _RESULT) or current
    try:
        history = journal_format.history(envelope_format.parse(envelope).tail)
    except DamagedMessage:
        return None
    content = adopted / names.content(message)
    found = regular_files.measured(content if files.exists(content) else spool.content(message))
    return envelope if found == (history.length, history.crc32) else None


def finish(spool: Spool, message: QueueId) -> None:
    """Give a result's content its name after a replay of the log, which has put the envelope."""
    at = spool.directories.work / names.adopted_copy(message)
    content = at.directory.below(at.name, makes=False, private=True) / names.content(message)
    if files.exists(content):
        files.rename(content, spool.content(message))
    files.remove_tree(at)


def discard(spool: Spool, message: QueueId) -> None:
    """Remove a result that must not become the message. Another user's gets a name to say so."""
    at = spool.directories.work / names.adopted_copy(message)
    files.remove_tree(at)
    if files.is_there(at):
        try:
            files.rename(at, spool.directories.work / names.void_copy(message))
        except OSError as error:
            spool.trouble(f"discard {at}, which must not be used; remove it by hand", error)


def roll_forward(locked: Locked) -> bool:
    """Complete an adoption that a dead process has committed; False if there is none.

    A process that could not read the result may have left it here after a power cut.
    """
    spool, message = locked.spool, locked.id
    if not is_left(spool, message):
        return False
    adopted = spool.directories.work / names.adopted_copy(message)
    if whole_result(spool, message, file_octets.read_all(locked.descriptor)) is None:
        spool.trouble(f"adopt {adopted}", "its files are torn; the filters run again")
        discard(spool, message)
        return False
    _move_into_place(locked, adopted.directory.below(adopted.name, makes=False, private=True))
    files.sync_directory(spool.root)
    _remove(adopted)
    return True
