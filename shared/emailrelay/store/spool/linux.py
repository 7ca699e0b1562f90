"""Calls of Linux that Python's ``os`` does not have; elsewhere the next best, or nothing."""

import contextlib
import ctypes
import errno
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_BEGIN, _BEGIN_AND_WAIT = 2, 1 | 2 | 4
"""SYNC_FILE_RANGE_WRITE, and that between WAIT_BEFORE and WAIT_AFTER."""
NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EPERM)
"""What says that a call is not to be had: no such call, not for such files, or a sandbox forbids it."""


def sync_file_system(descriptor: int) -> None:
    """Put everything on stable storage that was written to the file system of an open file (syncfs(2)).

    Raises:
        OSError: the disk refused something since the last time, or since the file was opened.

    """
    if not hasattr(_LIBC, "syncfs"):
        os.sync()  # it waits, too, and tells of no error
    elif _LIBC.syncfs(descriptor) != 0:
        raise _error("sync the file system")


def begin_writing(descriptor: int) -> None:
    """Have the kernel begin to write a file's data, without waiting for it.

    Raises:
        OSError: the disk refused to begin. A sync might not say so again.

    """
    if hasattr(_LIBC, "sync_file_range"):
        _sync_file_range(descriptor, _BEGIN)
    elif hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def wait_for_writing(descriptor: int) -> None:
    """Wait until a file's data is written. It is not safe before a sync, which has less to wait for then.

    Raises:
        OSError: the disk refused some of it. A sync would not say so again.

    """
    if hasattr(_LIBC, "sync_file_range"):
        _sync_file_range(descriptor, _BEGIN_AND_WAIT)


def _sync_file_range(descriptor: int, flags: int) -> None:
    whole = ctypes.c_int64(0)  # offset; and, as a length, up to the end
    if _LIBC.sync_file_range(descriptor, whole, whole, ctypes.c_uint(flags)) != 0:
        error = _error("write a file")
        if error.errno not in NOT_HERE:
            raise error


def _error(doing: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{doing}: {os.strerror(number)}")
