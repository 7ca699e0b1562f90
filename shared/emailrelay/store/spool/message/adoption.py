"""Work copies for programs, and how their result becomes the message.

Programs may do anything to a copy; the message stays whole. A result is synced in its directory, which
is then renamed from ``ID.run`` to ``ID.adopt`` and that name synced: *this commits the result*. From
there any holder of the message's lock rolls it forward, idempotently, and never runs the chain again.
"""

import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from emailrelay import envelope_format, journal
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.events import TakenIn
from emailrelay.journal import Wished
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK, WorkCopy
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import PRIVATE, Directory, Location
from emailrelay.store.spool.disk.threads import in_thread
from emailrelay.store.spool.message.draft import SpoolDraft
from emailrelay.store.spool.message.moves import Locked
from emailrelay.store.spool.message.spool import Spool

_LONG_AGO = (0, 0)
"""Times of a fresh copy: an edit within the same tick of the kernel's clock shows all the same."""
_SMALL = 256 * 1024
"""Octets that are copied within the page cache at once."""
_RESULT = "result"
"""In an adopted copy: the envelope that the message will have."""
_OWN = "own"
"""In a copy to be adopted: a content being made that is nobody else's."""


@dataclass(slots=True)
class SpoolCopy:
    """A private copy in a directory of its own, and how its files looked when it was made."""

    at: Location
    directory: Directory
    files: WorkCopy
    original: dict[Location, object]
    """How each file looked."""

    def changed(self) -> bool:
        """Tell whether a program has touched either file. A change time cannot be set back."""
        return any(_looks(path) != looked for path, looked in self.original.items())

    def removed(self) -> bool:
        """Remove a copy that nobody needs any more; False if programs have put something beside it."""
        try:
            for path in self.original:
                files.remove(path)
            files.remove_directory(self.at)
        except OSError:
            return False
        self.directory.close()
        return True

    def discard(self) -> None:
        """Remove the copy with everything in it; one that was adopted has another name."""
        if not self.removed():
            self.directory.close()
            files.remove_tree(self.at)

    @property
    def content(self) -> Location:
        """Give the place of the content."""
        return self.directory / self.files.content.name

    @property
    def envelope(self) -> Location:
        """Give the place of the envelope."""
        return self.directory / self.files.envelope.name


def _looks(path: Location) -> object:
    try:
        return _signature(files.status_of(path))
    except OSError:  # gone, or out of reach: reading it will tell
        return None


def _signature(status: os.stat_result) -> object:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode


async def copied(locked: Locked, content: int, suffix: str, *, size: int) -> SpoolCopy:
    """Make a copy; of a large content in a thread, which costs as much as a small content's whole copy."""
    if size <= _SMALL:
        return make_copy(locked, content, suffix)
    return await in_thread(make_copy, locked, content, suffix)


def make_copy(locked: Locked, content: int, suffix: str) -> SpoolCopy:
    """Copy an open content and its locked envelope, for this user's eyes alone."""
    at = locked.spool.directories.work / names.running_copy(locked.id)
    try:
        files.make_directory(at, PRIVATE)
    except FileExistsError:
        files.remove_tree(at)
        files.make_directory(at, PRIVATE)
    directory = at.directory.below(at.name, makes=False, private=True)
    for_content = directory / names.content(locked.id)
    for_envelope = directory / f"{names.envelope(locked.id, Stage.READY)}.{suffix}"
    try:
        original = {
            for_content: _copied(content, for_content),
            for_envelope: _copied(locked.descriptor, for_envelope),
        }
    except OSError:
        directory.close()
        files.remove_tree(at)
        raise
    paths = WorkCopy(Path(str(for_content)), Path(str(for_envelope)))
    return SpoolCopy(at, directory, paths, original)


def _copied(source: int, path: Location) -> object:
    """Copy an open file; tell how the copy looks."""
    descriptor = files.copy(source, path)
    try:
        os.utime(descriptor, _LONG_AGO)
        return _signature(os.fstat(descriptor))
    finally:
        os.close(descriptor)


async def adopt(locked: Locked, copy: SpoolCopy) -> None:
    """Make the copy's files the message: S1, W -> W+ -> S2."""
    spool = locked.spool
    adopted = spool.directories.work / names.adopted_copy(locked.id)
    with ExitStack() as opened:
        prepared = await in_thread(_prepare, locked, copy, opened)
        await spool.syncer.run(prepared, (copy.directory,))
    files.rename(copy.at, adopted)
    copy.directory.close()
    await spool.syncer.run((), (spool.directories.work,))
    _move_into_place(locked, adopted)
    await spool.syncer.run((), (spool.root,))
    files.remove_tree(adopted)


def _prepare(locked: Locked, copy: SpoolCopy, opened: ExitStack) -> tuple[int, int]:
    """Put the message's new envelope beside the copy's content; give both, which ``opened`` closes."""
    try:
        fields = envelope_format.parse(_read(copy.envelope)).envelope
    except DamagedMessage as error:
        raise StoreError(f"adopt {copy.files.envelope}", str(error)) from error
    _clear(copy)
    content = _own_content(copy, opened)
    length, crc32 = files.measure(content)
    # The journal is the original's: a program can change what is sent, not what has happened.
    tail = envelope_format.parse(files.read_all(locked.descriptor)).tail
    filtered = journal.Filtered(at=locked.spool.clock(), length=length, crc32=crc32)
    result = files.create(copy.directory / _RESULT)
    opened.callback(os.close, result)
    files.write_all(result, envelope_format.write(fields))
    files.write_all(result, _whole_lines(tail) + journal.write(filtered))
    return content, result


def _clear(copy: SpoolCopy) -> None:
    """Remove what else programs have left: it may bear a name that we need."""
    for name in files.listed(copy.directory):
        found = copy.directory / name
        if found in (copy.content, copy.envelope):
            continue
        if files.is_directory(found):
            files.remove_tree(found)
        else:
            files.remove(found)


def _own_content(copy: SpoolCopy, opened: ExitStack) -> int:
    """Open the copy's content as a file of ours under one name: a program may have kept a link to its own."""
    path = copy.content
    content = _open(path)
    opened.callback(os.close, content)
    status = os.fstat(content)
    if status.st_nlink > 1 or status.st_uid != os.geteuid():
        own = copy.directory / _OWN
        os.close(files.copy(content, own))
        files.rename(own, path)
        content = _open(path)
        opened.callback(os.close, content)
    os.fchmod(content, files.FILE_MODE)
    return content


def _whole_lines(tail: bytes) -> bytes:
    return tail if not tail or tail.endswith(b"\n") else tail + b"\r\n"


def _open(path: Location) -> int:
    descriptor = files.open_regular(path, alone=False)
    if descriptor is None:
        raise StoreError(f"adopt {path}", "the filters left no regular file")
    return descriptor


def _read(path: Location) -> bytes:
    descriptor = _open(path)
    try:
        return files.read_all(descriptor)
    finally:
        os.close(descriptor)


def _move_into_place(locked: Locked, at: Location) -> None:
    """Redo what of the adoption was not done yet."""
    spool, message = locked.spool, locked.id
    adopted = at.directory.below(at.name, makes=False, private=True)
    content, result = adopted / names.content(message), adopted / _RESULT
    unfiltered = spool.envelope(message, Stage.UNFILTERED)
    if not files.is_named(locked.descriptor, unfiltered):
        raise FileNotFoundError(f"{unfiltered} was moved while its filters ran")
    if files.exists(content):
        files.rename(content, spool.content(message))
    replacement = files.lock_named(result)
    try:
        if replacement is not None:
            _carry_wish(locked, replacement)
            files.rename(result, unfiltered)
        # W+ -> S2: one name throughout, first with the old envelope behind it, then with the new.
        files.rename(unfiltered, spool.envelope(message, Stage.READY))
    finally:
        if replacement is not None:
            files.unlock_and_close(replacement)
    spool.bell.ring(Stage.READY, message)


def _carry_wish(locked: Locked, replacement: int) -> None:
    """Note in the new envelope what an operator has asked for since the old one was copied."""
    tail = envelope_format.parse(files.read_all(locked.descriptor)).tail
    wish = journal.history(tail).wish
    if wish is None:
        return
    envelope = files.open_for_append(replacement)
    try:
        files.append(envelope, journal.write(Wished(at=locked.spool.clock(), wish=wish)))
    finally:
        os.close(envelope)


def is_done(spool: Spool, message: QueueId) -> bool:
    """Tell whether an adoption lacks nothing but the removal of its directory."""
    work = spool.directories.work
    adopted = work.below(names.adopted_copy(message), makes=False)
    return not files.is_there(adopted / _RESULT) and not files.is_there(
        spool.envelope(message, Stage.UNFILTERED)
    )


def discard(spool: Spool, message: QueueId) -> None:
    """Remove what filters had made of a message that is withdrawn."""
    files.remove_tree(spool.directories.work / names.adopted_copy(message))


def roll_forward(locked: Locked) -> bool:
    """Finish an adoption that a dead process had committed; False if there is none."""
    adopted = locked.spool.directories.work / names.adopted_copy(locked.id)
    if not files.is_directory(adopted):
        return False
    _move_into_place(locked, adopted)
    files.sync_directory(locked.spool.root)
    files.remove_tree(adopted)
    return True


async def take_in(spool: Spool, copy: SpoolCopy) -> None:
    """Take in the complete pairs of new messages that programs put beside the copy.

    Raises:
        StoreError: one could not be taken in; running the programs again will bring it again.

    """
    own = {copy.files.content.name, copy.files.envelope.name}
    try:
        found = sorted(set(files.listed(copy.directory)) - own)
    except FileNotFoundError:
        return
    for name in found:
        entry = names.parse(name)
        if entry is not None and entry.stage in {Stage.UNFILTERED, Stage.READY}:
            await _take_in_pair(spool, copy.directory / name, entry)


async def _take_in_pair(spool: Spool, envelope: Location, entry: names.EnvelopeName) -> None:
    content = files.open_regular(envelope.directory / names.content(entry.id), alone=False)
    if content is None:
        return
    try:
        if not stat.S_ISREG(files.status_of(envelope).st_mode):
            return
        fields = envelope_format.parse(_read(envelope)).envelope
        async with SpoolDraft(spool, fields) as draft:
            offset = 0
            while chunk := os.pread(content, CHUNK, offset):
                draft.write(chunk)
                offset += len(chunk)
            await draft.commit(entry.stage)
        spool.report(TakenIn(id=draft.id))
    except DamagedMessage as error:
        spool.trouble(f"take in {envelope.name} from a filter", error)
    finally:
        os.close(content)
