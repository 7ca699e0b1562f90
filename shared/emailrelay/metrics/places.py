"""The places of processes in the directory of counters: each process holds one, and its files.

A place is a number. Its files outlive the process, and the next process in the place counts on from
them. So no count is lost when a process ends, and there are as many files as processes ran at once.
"""

import contextlib
import fcntl
import os
from pathlib import Path

_MOST = 512
"""Processes on one host that can count."""
_KINDS = {"counter": 256 * 1024, "histogram": 64 * 1024}
"""The octets of each file. Its room is taken at once: without it, a write to a full file system
would end the process (SIGBUS). ``counters`` limits the time series, so that the file is never too
small."""


process = os.getpid()
"""This process. It is noted, since each event asks for it, and getpid is a system call."""


def _note_process() -> None:
    global process  # noqa: PLW0603 -- a fork changes it
    process = os.getpid()


os.register_at_fork(after_in_child=_note_process)


class CounterPlace:
    """A place held by this process until it ends."""

    def __init__(self, directory: Path) -> None:
        """Take the first free place.

        Raises:
            OSError: there is none, or no room for its files.

        """
        for number in range(_MOST):
            self._lock = _lock(directory / f"{number}.lock")
            if self._lock is not None:
                break
        else:
            raise OSError(f"{directory}: all {_MOST} places are taken")
        self.files = [directory / f"{kind}_{number}.db" for kind in _KINDS]
        for path, size in zip(self.files, _KINDS.values(), strict=True):
            _allocate(path, size)

    def forget(self) -> None:
        """Remove the files of the place, which may be damaged."""
        for path in self.files:
            with contextlib.suppress(OSError):
                path.unlink()

    def close(self) -> None:
        """Close this process's copy of the lock; in the process that made it, give it up."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock; None: another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _allocate(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        there = os.fstat(descriptor).st_size
        if there < size and os.pwrite(descriptor, bytes(size - there), there) < size - there:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, there)
            raise OSError(f"{path}: no room")
    finally:
        os.close(descriptor)
