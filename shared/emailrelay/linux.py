"""The calls that only Linux has, each with a plain POSIX fallback.

All other code imports these and does not ask which system it runs on. With ``EMAILRELAY_PORTABLE``
in the environment the fallbacks are used on Linux too, so that tests run them.
``docs/portability.md`` lists the cost of each fallback.
"""

import contextlib
import errno
import fcntl
import functools
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctypes import CDLL

AVAILABLE = sys.platform == "linux" and "EMAILRELAY_PORTABLE" not in os.environ
"""True: the calls of Linux are used."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # prctl(2)
_WRITE, _WRITE_AND_WAIT = 2, 1 | 2 | 4
"""SYNC_FILE_RANGE_WRITE, alone and with WAIT_BEFORE and WAIT_AFTER."""
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)
_MIB = 1024 * 1024
_PARENT_CHECK = 1.0
"""Seconds between checks of the parent, where the kernel sends no signal."""
NOT_AVAILABLE = (errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EPERM)
"""Errors of a call that does not exist, does not suit the file, or is forbidden in a sandbox."""
_SYNCFS_REPORTS = (5, 8)
"""The first version of Linux whose syncfs(2) reports failed writes."""


@functools.cache
def _libc() -> "CDLL":
    import ctypes  # noqa: PLC0415 - slow, and emailrelay-submit does without

    return ctypes.CDLL(None, use_errno=True)


# Processes


def end_with_parent(parent: int) -> bool:
    """Have SIGTERM sent to this process when its parent ends; return False if it has ended already.

    Call it after the last fork: the fallback is a thread.
    """
    if AVAILABLE:
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    else:
        import threading  # noqa: PLC0415 - slow, and Linux does without

        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    return os.getppid() == parent


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK)
    os.kill(os.getpid(), signal.SIGTERM)


def give_up_new_privileges() -> None:
    """Keep the programs that this process runs from gaining rights. The fallback does nothing."""
    if AVAILABLE:
        _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def open_pidfd(pid: int) -> int | None:
    """Return a descriptor that becomes readable when a child ends; None without Linux.

    Raises:
        OSError: the process has no descriptors left.

    """
    return os.pidfd_open(pid) if AVAILABLE else None


def environments() -> Iterator[tuple[int, bytes]]:
    """Yield the id and environment of each process that this user may read; without Linux, none.

    Raises:
        OSError: the processes cannot be listed.

    """
    if not AVAILABLE:
        return
    for name in os.listdir("/proc"):
        if name.isdecimal():
            # Processes come and go, and the environments of other users cannot be read.
            with contextlib.suppress(OSError):
                yield int(name), _read(f"/proc/{name}/environ")


def processor_time(pid: int) -> int:
    """Return the processor time that a process has used, in ticks (proc(5)); 0: gone or unknown."""
    try:
        status = _read(f"/proc/{pid}/stat") if AVAILABLE else b""
    except OSError:
        return 0
    # User and system time are fields 14 and 15; field 2, the program's name, is in parentheses.
    return sum(map(int, status.rpartition(b")")[2].split()[11:13]))


def tcp_table() -> list[str]:
    """Return the lines of the kernel's tables of TCP connections (proc(5)); without Linux, none.

    Raises:
        OSError: a table cannot be read.

    """
    tables = ("/proc/net/tcp", "/proc/net/tcp6") if AVAILABLE else ()
    there = [each for each in tables if os.access(each, os.F_OK)]  # a kernel may lack IPv6
    return [line for each in there for line in _read(each).decode("ascii").splitlines()]


# Files


def mount_table() -> str:
    """Return the text of /proc/self/mountinfo (proc(5)); empty if the system has none."""
    try:
        return os.fsdecode(_read("/proc/self/mountinfo")) if AVAILABLE else ""
    except OSError:
        return ""


def sync_reports_errors() -> bool:
    """Tell if ``sync_file_system`` reports failed writes."""
    system = os.uname()
    version = re.match(r"(\d+)\.(\d+)", system.release)
    recent = version is not None and (int(version[1]), int(version[2])) >= _SYNCFS_REPORTS
    return AVAILABLE and system.sysname == "Linux" and recent


def sync_file_system(descriptor: int) -> None:
    """Put all written data of an open file's file system on stable storage.

    Raises:
        OSError: a write has failed since the last call, or since the file was opened.

    """
    if not AVAILABLE or not hasattr(_libc(), "syncfs"):
        os.sync()  # it waits, but reports no error
    elif _libc().syncfs(descriptor) != 0:
        raise _error("sync the file system")


def begin_writing(descriptor: int) -> None:
    """Have the kernel begin to write a file's data; do not wait for it.

    Raises:
        OSError: a write has failed. A later sync may not report it again.

    """
    if AVAILABLE and hasattr(_libc(), "sync_file_range"):
        _sync_file_range(descriptor, _WRITE)
    elif hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def wait_for_writing(descriptor: int) -> None:
    """Wait until a file's data is written. It is durable only after a sync, which has less to do.

    Raises:
        OSError: a write has failed. A later sync would not report it again.

    """
    if AVAILABLE and hasattr(_libc(), "sync_file_range"):
        _sync_file_range(descriptor, _WRITE_AND_WAIT)


def _sync_file_range(descriptor: int, flags: int) -> None:
    import ctypes  # noqa: PLC0415 - see _libc

    whole = ctypes.c_int64(0)  # the offset; as a length it means up to the end
    if _libc().sync_file_range(descriptor, whole, whole, ctypes.c_uint(flags)) != 0:
        error = _error("write a file")
        if error.errno not in NOT_AVAILABLE:
            raise error


def nameless_file(name: str) -> int:
    """Return a new open file without a name on disk; ``name`` is for debuggers only.

    Raises:
        OSError: there is no room, or the process has no descriptors left.

    """
    if AVAILABLE:
        return os.memfd_create(name)
    import tempfile  # noqa: PLC0415 - slow, and Linux does without

    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    return descriptor


def path_of(descriptor: int) -> str:
    """Return a path from which a child reads an inherited file from its beginning."""
    return f"/proc/self/fd/{descriptor}" if AVAILABLE else f"/dev/fd/{descriptor}"


def short_path(directory: int, path: str, name: str) -> str:
    """Return a path to ``name`` in an open directory, for a socket's address (107 octets, unix(7)).

    The fallback is the whole ``path`` of the directory, with the name.
    """
    return f"/proc/self/fd/{directory}/{name}" if AVAILABLE else f"{path}/{name}"


def directory_flags() -> int:
    """Return the flags that open a directory only to look up names in it."""
    return (os.O_PATH if AVAILABLE else os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


def reading_flags() -> int:
    """Return the flags that open a file whose descriptor ``reopen_to_append`` takes.

    The fallback opens it for writing, too. On Linux that would cost an event for each watcher when
    the file is closed.
    """
    return os.O_RDONLY if AVAILABLE else os.O_RDWR | os.O_APPEND


def reopen_to_append(descriptor: int) -> int:
    """Open the file behind a descriptor to append to it, whatever its name is now.

    Raises:
        OSError: this user may not write to it.

    """
    if AVAILABLE:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{descriptor}", flags)
    if not may_append(descriptor):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return os.dup(descriptor)


def may_append(descriptor: int) -> bool:
    """Tell if ``reopen_to_append`` is permitted."""
    if AVAILABLE:
        return os.access(f"/proc/self/fd/{descriptor}", os.W_OK, effective_ids=True)
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR


def copy_octets(source: int, target: int, offset: int, count: int) -> int:
    """Copy octets of a file from ``offset`` to the position in another one; return how many.

    Raises:
        OSError: the disk refuses.

    """
    if AVAILABLE:
        return os.sendfile(target, source, offset, count)
    return os.write(target, os.pread(source, min(count, _MIB), offset))


# Memory and time


def limit_pipe(descriptor: int, octets: int) -> None:
    """Let a pipe hold about as many octets as this; elsewhere it holds what the system chose."""
    if AVAILABLE:
        # Its user may have used up fs.pipe-user-pages-soft.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, octets)


def keep_freed_memory() -> None:
    """Have the C library keep up to a few MiB of freed memory.

    By default it returns each free 128 KiB at the end of its memory to the kernel, and takes a page
    fault for each 4 KiB when it needs them again. For a large message that was a third of the cost.
    Only the GNU C library has these settings.
    """
    mallopt = getattr(_libc(), "mallopt", None) if AVAILABLE else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 4 * _MIB)
        mallopt(_TOP_PAD, _MIB)
        mallopt(_MMAP_THRESHOLD, 2 * _MIB)


def time_since_boot() -> float:
    """Return the seconds since the machine started; on Linux they include its sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if AVAILABLE else time.monotonic()


def boot_id() -> str:
    """Return an id of this start of the machine; empty if the system has none."""
    if not AVAILABLE:
        return ""
    try:
        return _read("/proc/sys/kernel/random/boot_id").decode("ascii").strip()
    except OSError:
        return ""


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _error(doing: str) -> OSError:
    import ctypes  # noqa: PLC0415 - see _libc

    number = ctypes.get_errno()
    return OSError(number, f"{doing}: {os.strerror(number)}")
