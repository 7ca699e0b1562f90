"""The kernel's locks (flock) on files of the spool.

A lock ends with its process. It counts only while the name still leads to the locked file.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Generator
from functools import cache

from emailrelay import started_programs
from emailrelay.store.spool.disk import files, regular_files
from emailrelay.store.spool.disk.directory import Location


def share_lock(descriptor: int) -> bool:
    """Take a shared lock if no other open file has an exclusive one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock(descriptor: int) -> None:
    """Take an exclusive lock; waits for it."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def try_lock(descriptor: int) -> bool:
    """Take the kernel's lock on an open file if it is free."""
    return _library()(descriptor, blocking=False)


@cache
def _library() -> Callable[..., bool]:
    """Return the library's function: an import statement would cost more than the lock."""
    from filelock import lock_descriptor  # noqa: PLC0415 - slow, and emailrelay-submit does without

    return lock_descriptor


def try_lock_new(descriptor: int) -> bool:
    """Take the same lock on a file that this process has just made.

    Only a sweep can have it, for a moment. See ``docs/decisions/lock-of-a-new-message.md``.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(descriptor: int) -> bool:
    """Tell if another open file has the lock."""
    if not share_lock(descriptor):
        return True
    unlock(descriptor)
    return False


def unlock(descriptor: int) -> None:
    """End a lock at once: a child between fork and exec still shares the open file."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def unlock_and_close(descriptor: int) -> None:
    """End a lock and close its file. Errors do not matter: durable data was synced before.

    The lock ends with the last descriptor of its open file. Only a program that this process has
    started could have another one, until its exec.
    """
    if started_programs.some():
        with contextlib.suppress(OSError):
            unlock(descriptor)
    files.close(descriptor)


def lock_named(at: Location, *, new: bool = False) -> int | None:
    """Open and lock the file at ``at``; None if it is gone, not regular, or locked.

    ``new``: this process has just made it.

    Guarantee: the name and the locked inode agree; a lock on a file that was just renamed is void.
    """
    locked = lock_with_status(at, new=new)
    return None if locked is None else locked[0]


def lock_with_status(at: Location, *, new: bool = False) -> tuple[int, os.stat_result] | None:
    """Do as ``lock_named``, and return the status of the locked file, too."""
    opened = regular_files.open_with_status(at)
    if opened is None:
        return None
    descriptor, before = opened
    if not (try_lock_new(descriptor) if new else try_lock(descriptor)):
        os.close(descriptor)
        return None
    try:
        status = files.status_of(at)
    except FileNotFoundError:
        status = None
    if status is not None and os.path.samestat(status, before):
        return descriptor, status
    unlock_and_close(descriptor)
    return None


@contextlib.contextmanager
def held(at: Location) -> Generator[int | None]:
    """Lock the file at ``at`` for a block; None: see ``lock_named``."""
    descriptor = lock_named(at)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            unlock_and_close(descriptor)


@contextlib.contextmanager
def held_alone(at: Location) -> Generator[int]:
    """Lock a file of this process for a block, where no other process can reach its name."""
    descriptor = files.opened(at, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        unlock_and_close(descriptor)


def create_locked(at: Location) -> int | None:
    """Create a file and take its lock; None if a sweep took it for a dead process's file."""
    descriptor = files.create(at)
    # Without a name any more, it was removed by a sweep.
    if try_lock_new(descriptor) and os.fstat(descriptor).st_nlink:
        return descriptor
    os.close(descriptor)
    return None


def is_named(descriptor: int, at: Location) -> bool:
    """Tell if ``at`` names the open file."""
    try:
        there, here = files.status_of(at), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, here)
