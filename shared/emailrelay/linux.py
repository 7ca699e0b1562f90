"""The calls that only Linux has, each with a plain POSIX fallback.

The rest of the code imports these and asks no further which system it runs on. With
``EMAILRELAY_PORTABLE`` in the environment the fallbacks are used on Linux too, so that the tests run
them. ``docs/portability.md`` lists what each fallback costs.
"""

import contextlib
import ctypes
import errno
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

AVAILABLE = sys.platform == "linux" and "EMAILRELAY_PORTABLE" not in os.environ
"""Whether the calls of Linux are used."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # prctl(2)
_WRITE, _WRITE_AND_WAIT = 2, 1 | 2 | 4
"""SYNC_FILE_RANGE_WRITE, and that between WAIT_BEFORE and WAIT_AFTER."""
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)
_MIB = 1024 * 1024
_PARENT_CHECK = 1.0
"""Seconds between looks whether the parent still runs, where the kernel does not tell."""
NOT_AVAILABLE = (errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EPERM)
"""Errors of a call that does not exist, does not suit the file, or is forbidden in a sandbox."""


# Processes


def end_with_parent(parent: int) -> bool:
    """Have SIGTERM sent to this process when its parent is gone; return False if it has gone already.

    Call it after the last fork: the fallback is a thread.
    """
    if AVAILABLE:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    else:
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    return os.getppid() == parent


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK)
    os.kill(os.getpid(), signal.SIGTERM)


def give_up_new_privileges() -> None:
    """Keep programs run from here from gaining rights. Without Linux nothing is done."""
    if AVAILABLE:
        _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def open_pidfd(pid: int) -> int | None:
    """Open a descriptor that becomes readable when a child ends; None: the system has none.

    Raises:
        OSError: the process has no descriptors left.

    """
    return os.pidfd_open(pid) if AVAILABLE else None


def environments() -> Iterator[tuple[int, bytes]]:
    """Yield the id and the environment of each process that may be read; without Linux, none.

    Raises:
        OSError: the processes cannot be listed.

    """
    if not AVAILABLE:
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            # Processes come and go, and the environments of other users cannot be read.
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "environ").read_bytes()


# Files


def sync_file_system(descriptor: int) -> None:
    """Put everything on stable storage that was written to the file system of an open file.

    Raises:
        OSError: the disk refused something since the last time, or since the file was opened.

    """
    if not AVAILABLE or not hasattr(_LIBC, "syncfs"):
        os.sync()  # it waits too, but reports no error
    elif _LIBC.syncfs(descriptor) != 0:
        raise _error("sync the file system")


def begin_writing(descriptor: int) -> None:
    """Have the kernel begin to write a file's data, without waiting for it.

    Raises:
        OSError: the disk refused to begin. A sync might not report that again.

    """
    if AVAILABLE and hasattr(_LIBC, "sync_file_range"):
        _sync_file_range(descriptor, _WRITE)
    elif hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def wait_for_writing(descriptor: int) -> None:
    """Wait until a file's data is written. It is not safe before a sync, which then has less to do.

    Raises:
        OSError: the disk refused some of it. A sync would not report that again.

    """
    if AVAILABLE and hasattr(_LIBC, "sync_file_range"):
        _sync_file_range(descriptor, _WRITE_AND_WAIT)


def _sync_file_range(descriptor: int, flags: int) -> None:
    whole = ctypes.c_int64(0)  # the offset; as a length it means up to the end
    if _LIBC.sync_file_range(descriptor, whole, whole, ctypes.c_uint(flags)) != 0:
        error = _error("write a file")
        if error.errno not in NOT_AVAILABLE:
            raise error


def nameless_file(name: str) -> int:
    """Open a file that has no name on disk; ``name`` is for debuggers only.

    Raises:
        OSError: there is no room, or the process has no descriptors left.

    """
    if AVAILABLE:
        return os.memfd_create(name)
    descriptor, path = tempfile.mkstemp()
    Path(path).unlink()
    return descriptor


def path_of(descriptor: int) -> str:
    """Return a path by which a child reads an inherited descriptor from its beginning."""
    return f"/proc/self/fd/{descriptor}" if AVAILABLE else f"/dev/fd/{descriptor}"


def directory_flags() -> int:
    """Return the flags that open a directory only to name what is in it."""
    return (os.O_PATH if AVAILABLE else os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


# Memory and time


def keep_freed_memory() -> None:
    """Have the C library keep up to a few MiB of freed memory.

    By default it returns each free 128 KiB at the end of its memory to the kernel, and takes a page
    fault for each 4 KiB when it needs them again. For a large message that was a third of the cost.
    Only the GNU C library has these settings.
    """
    mallopt = getattr(_LIBC, "mallopt", None) if AVAILABLE else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 4 * _MIB)
        mallopt(_TOP_PAD, _MIB)
        mallopt(_MMAP_THRESHOLD, 2 * _MIB)


def time_since_boot() -> float:
    """Return the seconds since the machine started, in Linux with its sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if AVAILABLE else time.monotonic()


def boot_id() -> str:
    """Return an id of this start of the machine; empty if the system has none."""
    if not AVAILABLE:
        return ""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _error(doing: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{doing}: {os.strerror(number)}")
