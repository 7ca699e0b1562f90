"""Work copies for programs, and how their result becomes the message.

Programs may do anything to a copy; the message stays whole. A result is synced in its directory, which
is then renamed from ``ID.run`` to ``ID.adopt`` and that name synced: *this commits the result*. From
there any holder of the message's lock rolls it forward, idempotently, and never runs the chain again.
"""

import os
import shutil
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
from emailrelay.store.spool import files, names
from emailrelay.store.spool.draft import SpoolDraft
from emailrelay.store.spool.moves import Locked
from emailrelay.store.spool.spool import Spool
from emailrelay.store.spool.threads import in_thread

_LONG_AGO = (0, 0)
"""Times of a fresh copy: an edit within the same tick of the kernel's clock shows all the same."""
_SMALL = 256 * 1024
"""Octets that are copied within the page cache at once."""
_RESULT = "result"
"""In an adopted copy: the envelope that the message will have."""
_OWN = "own"
"""In a copy to be adopted: a content being made that is nobody else's."""


@dataclass(slots=True)
class Copy:
    """A private copy in a directory of its own, and how its files looked when it was made."""

    directory: str
    files: WorkCopy
    original: dict[str, object]
    """How each file looked, by its path."""

    def changed(self) -> bool:
        """Tell whether a program has touched either file. A change time cannot be set back."""
        return any(_looks(path) != looked for path, looked in self.original.items())

    def removed(self) -> bool:
        """Remove a copy that nobody needs any more; False if programs have put something beside it."""
        try:
            for path in self.original:
                files.remove(path)
            os.rmdir(self.directory)
        except OSError:
            return False
        return True

    def discard(self) -> None:
        """Remove the copy with everything in it; one that was adopted has another name."""
        if not self.removed():
            shutil.rmtree(self.directory, ignore_errors=True)


def _looks(path: str) -> object:
    try:
        return _signature(os.lstat(path))
    except OSError:  # gone, or out of reach: reading it will tell
        return None


def _signature(status: os.stat_result) -> object:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode


async def copied(locked: Locked, content: int, suffix: str, *, size: int) -> Copy:
    """Make a copy; of a large content in a thread, which costs as much as a small content's whole copy."""
    if size <= _SMALL:
        return make_copy(locked, content, suffix)
    return await in_thread(make_copy, locked, content, suffix)


def make_copy(locked: Locked, content: int, suffix: str) -> Copy:
    """Copy an open content and its locked envelope, for this user's eyes alone."""
    directory = locked.spool.path(names.WORK, names.running_copy(locked.id))
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory, 0o700)
    for_content = f"{directory}/{names.content(locked.id)}"
    for_envelope = f"{directory}/{names.envelope(locked.id, Stage.READY)}.{suffix}"
    try:
        original = {
            for_content: _copied(content, for_content),
            for_envelope: _copied(locked.descriptor, for_envelope),
        }
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return Copy(directory, WorkCopy(Path(for_content), Path(for_envelope)), original)


def _copied(source: int, path: str) -> object:
    """Copy an open file; tell how the copy looks."""
    descriptor = files.copy(source, path)
    try:
        os.utime(descriptor, _LONG_AGO)
        return _signature(os.fstat(descriptor))
    finally:
        os.close(descriptor)


async def adopt(locked: Locked, copy: Copy) -> None:
    """Make the copy's files the message: S1, W -> W+ -> S2."""
    spool = locked.spool
    adopted = spool.path(names.WORK, names.adopted_copy(locked.id))
    with ExitStack() as opened:
        prepared = await in_thread(_prepare, locked, copy, opened)
        await spool.syncer.run(prepared, (copy.directory,))
    os.rename(copy.directory, adopted)
    await spool.syncer.run((), (spool.path(names.WORK),))
    _move_into_place(locked, adopted)
    await spool.syncer.run((), (spool.root,))
    shutil.rmtree(adopted, ignore_errors=True)


def _prepare(locked: Locked, copy: Copy, opened: ExitStack) -> tuple[int, int]:
    """Put the message's new envelope beside the copy's content; give both, which ``opened`` closes."""
    try:
        fields = envelope_format.parse(_read(copy.files.envelope)).envelope
    except DamagedMessage as error:
        raise StoreError(f"adopt {copy.files.envelope}", str(error)) from error
    _clear(copy)
    content = _own_content(copy, opened)
    length, crc32 = files.measure(content)
    # The journal is the original's: a program can change what is sent, not what has happened.
    tail = envelope_format.parse(files.read_all(locked.descriptor)).tail
    filtered = journal.Filtered(at=locked.spool.clock(), length=length, crc32=crc32)
    result = files.create(f"{copy.directory}/{_RESULT}")
    opened.callback(os.close, result)
    files.write_all(result, envelope_format.write(fields))
    files.write_all(result, _whole_lines(tail) + journal.write(filtered))
    return content, result


def _clear(copy: Copy) -> None:
    """Remove what else programs have left: it may bear a name that we need."""
    for entry in os.scandir(copy.directory):
        if Path(entry.path) in (copy.files.content, copy.files.envelope):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            files.remove(entry.path)


def _own_content(copy: Copy, opened: ExitStack) -> int:
    """Open the copy's content as a file of ours under one name: a program may have kept a link to its own."""
    path = str(copy.files.content)
    content = _open(copy.files.content)
    opened.callback(os.close, content)
    status = os.fstat(content)
    if status.st_nlink > 1 or status.st_uid != os.geteuid():
        own = f"{copy.directory}/{_OWN}"
        os.close(files.copy(content, own))
        os.rename(own, path)
        content = _open(copy.files.content)
        opened.callback(os.close, content)
    os.fchmod(content, files.FILE_MODE)
    return content


def _whole_lines(tail: bytes) -> bytes:
    return tail if not tail or tail.endswith(b"\n") else tail + b"\r\n"


def _open(path: Path) -> int:
    descriptor = files.open_regular(str(path), alone=False)
    if descriptor is None:
        raise StoreError(f"adopt {path}", "the filters left no regular file")
    return descriptor


def _read(path: Path) -> bytes:
    descriptor = _open(path)
    try:
        return files.read_all(descriptor)
    finally:
        os.close(descriptor)


def _move_into_place(locked: Locked, adopted: str) -> None:
    """Redo what of the adoption was not done yet."""
    spool, message = locked.spool, locked.id
    content, result = f"{adopted}/{names.content(message)}", f"{adopted}/{_RESULT}"
    unfiltered = spool.envelope(message, Stage.UNFILTERED)
    if not files.is_named(locked.descriptor, unfiltered):
        raise FileNotFoundError(f"{unfiltered} was moved while its filters ran")
    if os.path.exists(content):
        os.rename(content, spool.content(message))
    replacement = files.lock_named(result)
    try:
        if replacement is not None:
            _carry_wish(locked, replacement)
            os.rename(result, unfiltered)
        # W+ -> S2: one name throughout, first with the old envelope behind it, then with the new.
        os.rename(unfiltered, spool.envelope(message, Stage.READY))
    finally:
        if replacement is not None:
            files.unlock_and_close(replacement)
    spool.bell.ring(Stage.READY, message)


def _carry_wish(locked: Locked, replacement: int) -> None:
    """Note in the new envelope what an operator has asked for since the old one was copied."""
    tail = envelope_format.parse(files.read_all(locked.descriptor)).tail
    wish = journal.read(journal.parse(tail)).wish
    if wish is None:
        return
    envelope = files.open_for_append(replacement)
    try:
        files.append(envelope, journal.write(Wished(at=locked.spool.clock(), wish=wish)))
    finally:
        os.close(envelope)


def is_done(spool: Spool, message: QueueId) -> bool:
    """Tell whether an adoption lacks nothing but the removal of its directory."""
    result = f"{spool.path(names.WORK, names.adopted_copy(message))}/{_RESULT}"
    return not os.path.exists(result) and not os.path.exists(
        spool.envelope(message, Stage.UNFILTERED)
    )


def discard(spool: Spool, message: QueueId) -> None:
    """Remove what filters had made of a message that is withdrawn."""
    shutil.rmtree(spool.path(names.WORK, names.adopted_copy(message)), ignore_errors=True)


def roll_forward(locked: Locked) -> bool:
    """Finish an adoption that a dead process had committed; False if there is none."""
    adopted = locked.spool.path(names.WORK, names.adopted_copy(locked.id))
    if not os.path.isdir(adopted):
        return False
    _move_into_place(locked, adopted)
    files.sync_directory(locked.spool.root)
    shutil.rmtree(adopted, ignore_errors=True)
    return True


async def take_in(spool: Spool, copy: Copy) -> None:
    """Take in the complete pairs of new messages that programs put beside the copy.

    Raises:
        StoreError: one could not be taken in; running the programs again will bring it again.

    """
    own = {copy.files.content.name, copy.files.envelope.name}
    try:
        found = sorted(set(os.listdir(copy.directory)) - own)
    except FileNotFoundError:
        return
    for name in found:
        entry = names.parse(name)
        if entry is not None and entry.stage in {Stage.UNFILTERED, Stage.READY}:
            await _take_in_pair(spool, Path(copy.directory, name), entry)


async def _take_in_pair(spool: Spool, envelope: Path, entry: names.Entry) -> None:
    content = files.open_regular(str(envelope.with_name(names.content(entry.id))), alone=False)
    if content is None:
        return
    try:
        if not stat.S_ISREG(envelope.lstat().st_mode):
            return
        fields = envelope_format.parse(_read(envelope)).envelope
        async with SpoolDraft(spool, fields) as draft:
            offset = 0
            while chunk := os.pread(content, CHUNK, offset):
                await draft.write(chunk)
                offset += len(chunk)
            await draft.commit(entry.stage)
        spool.report(TakenIn(id=draft.id))
    except DamagedMessage as error:
        spool.trouble(f"take in {envelope.name} from a filter", error)
    finally:
        os.close(content)
