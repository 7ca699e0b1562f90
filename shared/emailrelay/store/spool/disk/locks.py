"""The kernel's locks (flock) on files of the spool.

A lock ends with its process. It counts only while the name still leads to the locked file.
"""

import contextlib
import fcntl
import os

from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Location


def share_lock(descriptor: int) -> None:
    """Hold a lock beside others who share it; waits for one who has it alone."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def lock(descriptor: int) -> None:
    """Take a lock, waiting for it."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def try_lock(descriptor: int) -> bool:
    """Take the kernel's lock on an open file if nobody has it."""
    from filelock import lock_descriptor  # noqa: PLC0415 - slow; who only adds a message need not wait for it

    return lock_descriptor(descriptor, blocking=False)


def try_lock_new(descriptor: int) -> bool:
    """Take the same lock on a file that this process has just made.

    A sweep may have it for a moment, nobody else. See ``docs/decisions/lock-of-a-new-message.md``.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """End a lock at once: a child between fork and exec still shares the open file."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def unlock_and_close(descriptor: int) -> None:
    """End a lock and close its file; no error of that matters: what must be durable was synced before.

    The lock ends with the last descriptor of its file, if not by itself.
    """
    with contextlib.suppress(OSError):
        unlock(descriptor)
    with contextlib.suppress(OSError):
        os.close(descriptor)


def lock_named(at: Location, *, new: bool = False) -> int | None:
    """Open and lock the file at ``at``; None if it is gone, not regular, or locked.

    ``new``: this process has just made it.

    Guarantee: the name and the locked inode agree; a lock on a file that was just renamed is void.
    """
    locked = lock_with_status(at, new=new)
    return None if locked is None else locked[0]


def lock_with_status(at: Location, *, new: bool = False) -> tuple[int, os.stat_result] | None:
    """Open and lock as ``lock_named`` does, and tell what the file was once it was locked."""
    opened = files.open_with_status(at)
    if opened is None:
        return None
    descriptor, before = opened
    if try_lock_new(descriptor) if new else try_lock(descriptor):
        with contextlib.suppress(FileNotFoundError):
            status = files.status_of(at)
            if os.path.samestat(status, before):
                return descriptor, status
        unlock_and_close(descriptor)
    else:
        os.close(descriptor)
    return None


def create_locked(at: Location) -> int | None:
    """Create a file and take its lock; None if a sweep took it for a dead process's in between."""
    descriptor = files.create(at)
    if try_lock_new(descriptor) and is_named(descriptor, at):
        return descriptor
    os.close(descriptor)
    return None


def is_named(descriptor: int, at: Location) -> bool:
    """Tell whether ``at`` names the open file."""
    try:
        there, here = files.status_of(at), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, here)
