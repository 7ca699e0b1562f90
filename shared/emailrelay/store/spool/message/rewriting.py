"""Replaces an envelope file by a new one, under the lock of the process that has its message.

Lines are appended to a journal. It is rewritten only if it has grown long, or if this user may
read the file and not write to it. The new file is on stable storage before it takes the old one's
name, and that name is on stable storage before anything is appended.
"""

import os
import stat

from emailrelay import envelope_format, linux, short_journal
from emailrelay.errors import DamagedMessage
from emailrelay.store.spool.disk import file_octets, files, locks, names
from emailrelay.store.spool.disk.directory import PRIVATE, Location
from emailrelay.store.spool.message.moves import Locked

LONG = 1024 * 1024
"""Octets of an envelope file above which its journal is shortened, if possible."""

_LONGEST = 4 * file_octets.LARGEST_ENVELOPE
"""Octets of an envelope file that is too large to be read: no journal becomes so long."""


def can_be_written(locked: Locked, status: os.stat_result) -> bool:
    """Tell if a line can be recorded. This user's file with the usual mode needs no call."""
    if status.st_uid == locked.spool.user and status.st_mode & stat.S_IWUSR:
        return True
    return linux.may_append(locked.descriptor)


def make_anew(locked: Locked) -> None:
    """Replace an envelope that this user may only read by a copy. Blocks.

    Raises:
        OSError: see ``replace``.

    """
    octets = file_octets.read_all(locked.descriptor)
    replace(locked, octets, read=len(octets))


def prepare(locked: Locked) -> None:
    """Make sure that lines can be recorded, in a file that is not long. Blocks.

    Raises:
        OSError: see ``replace``.

    """
    status = os.fstat(locked.descriptor)
    if not can_be_written(locked, status):
        make_anew(locked)
    if status.st_size > LONG:
        shorten(locked)


def shorten_if_long(locked: Locked) -> bool:
    """Do ``shorten`` for a file that is long enough."""
    return os.fstat(locked.descriptor).st_size > LONG and shorten(locked)


def shorten(locked: Locked) -> bool:
    """Rewrite a long journal, if that makes the file much shorter; True if it was done. Blocks.

    Raises:
        OSError: the disk refuses; all is as it was.

    """
    size = os.fstat(locked.descriptor).st_size
    if size > _LONGEST:
        return False
    octets = os.pread(locked.descriptor, file_octets.LARGEST_ENVELOPE, 0)
    try:
        begins = len(octets) - len(envelope_format.parse(octets).tail)
    except DamagedMessage:
        return False
    journal = short_journal.shorten(file_octets.lines(locked.descriptor, begins))
    if journal is None or begins + len(journal) > size // 2:
        return False
    replace(locked, octets[:begins] + journal, read=size)
    return True


def replace(locked: Locked, octets: bytes, *, read: int) -> None:
    """Replace a message's envelope file by a new, locked one with these octets. Blocks.

    The octets replace the first ``read`` octets of the old file. Lines that an operator has
    appended since are kept.

    Raises:
        OSError: the disk refuses, or the message was moved; all is as it was.

    """
    spool = locked.spool
    at = spool.directories.work / names.new_envelope(locked.id)
    files.remove_tree(at)
    files.make_directory(at, PRIVATE)
    directory = spool.directories.work.below(at.name, makes=False, private=True)
    try:
        made = directory / names.draft_envelope(locked.id)
        descriptor = files.create(made)
        try:
            file_octets.write_all(descriptor, octets)
            file_octets.sync_data(descriptor)
        finally:
            os.close(descriptor)
        _put(locked, made, octets, read)
    finally:
        files.remove_tree(at)


def _put(locked: Locked, made: Location, octets: bytes, read: int) -> None:
    spool, path, old = locked.spool, locked.path(), locked.descriptor
    lock = locks.lock_named(made)
    if path is None or lock is None:
        if lock is not None:
            locks.unlock_and_close(lock)
        raise FileNotFoundError(f"the envelope of {locked.id} was moved")
    try:
        status = os.fstat(old)
        os.utime(lock, ns=(status.st_atime_ns, status.st_mtime_ns))  # when it is due next
        with spool.durability.settlements().replacing(locked.id, locked.stage, octets):
            files.rename(made, path)
    except OSError:
        locks.unlock_and_close(lock)
        raise
    locked.descriptor, locked.inode = lock, files.inode_of(os.fstat(lock))
    wished = file_octets.read_known(old, 0, read)
    locks.unlock_and_close(old)
    if wished:
        locked.append(wished)
    files.sync_directory(spool.root)
