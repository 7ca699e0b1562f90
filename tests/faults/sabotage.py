"""Faults put into the product on purpose, to check that its tests find them.

Each is Python code that the services run before anything else (``sitecustomize``). It changes the
system calls and not the product, so it works for every way to sync. The product has no switch for
it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

_DIRECTORY = """
import ctypes, os, stat, threading
fsync, fdatasync = os.fsync, os.fdatasync
def is_directory(descriptor):
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)
_load = ctypes.CDLL
def _without_kernel_syncs(*name, **options):
    loaded = _load(*name, **options)
    loaded.syscall = lambda *_: -1
    return loaded
ctypes.CDLL = _without_kernel_syncs
def later(sync, descriptor):
    own = os.dup(descriptor)
    def run():
        sync(own)
        os.close(own)
    threading.Timer(0.5, run).start()
"""
_WRITTEN_LATER = """
import ctypes
load = ctypes.CDLL
def library(*name, **options):
    loaded = load(*name, **options)
    loaded.sync_file_range = loaded.syncfs = lambda *_: 0
    return loaded
ctypes.CDLL = library
"""
FILES_NOT_SYNCED = f"""{_DIRECTORY}{_WRITTEN_LATER}
os.fsync = lambda descriptor: fsync(descriptor) if is_directory(descriptor) else None
os.fdatasync = lambda *_: None
"""
NOTHING_SYNCED = f"""{_DIRECTORY}
os.fsync = os.fdatasync = lambda *_: None
"""
DIRECTORIES_NOT_SYNCED = f"""{_DIRECTORY}
os.fsync = lambda descriptor: None if is_directory(descriptor) else fsync(descriptor)
"""
COMMITTED_BEFORE_THE_CONTENT = f"""{_DIRECTORY}{_WRITTEN_LATER}
def is_content(descriptor):
    return os.readlink(f"/proc/self/fd/{{descriptor}}").endswith(".content")
os.fdatasync = lambda d: later(fdatasync, d) if is_content(d) else fdatasync(d)
"""
WRITES_NOT_COUNTED = """
import os
write = os.write
def careless(descriptor, octets):
    write(descriptor, octets)
    return len(octets)
os.write = careless
"""
NEXT_DOT_BEFORE_THE_SYNC = f"""{_DIRECTORY}
os.fsync = lambda d: later(fsync, d) if is_directory(d) else fsync(d)
"""
KERNEL_SYNCS_DROPPED = """
import ctypes, os
load, nameless, submit = ctypes.CDLL, os.memfd_create("nothing"), 209  # of x86_64
def library(*name, **options):
    loaded = load(*name, **options)
    real = loaded.syscall
    def syscall(number, *arguments):
        if getattr(number, "value", number) == submit:
            requests = ctypes.cast(arguments[2], ctypes.POINTER(ctypes.c_void_p))
            for each in range(arguments[1].value):
                ctypes.c_uint32.from_address(requests[each] + 20).value = nameless
        return real(number, *arguments)
    loaded.syscall = syscall
    return loaded
ctypes.CDLL = library
"""
SOFT_LOCK = """
import fcntl, os
def flock(descriptor, operation):
    status = os.fstat(descriptor)
    lock = os.path.join(os.environ["SOFT_LOCKS"], f"{status.st_dev}.{status.st_ino}")
    if operation & fcntl.LOCK_UN:
        if os.path.exists(lock):
            os.unlink(lock)
        return
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        raise BlockingIOError(11, "locked") from None
fcntl.flock = flock
"""


def environment(fault: str, directory: Path) -> Mapping[str, str]:
    """Give the environment in which services have this fault."""
    locks = directory / "locks"
    locks.mkdir(parents=True)
    (directory / "sitecustomize.py").write_text(fault)
    return {**os.environ, "PYTHONPATH": str(directory), "SOFT_LOCKS": str(locks)}


def eatmydata() -> Mapping[str, str] | None:
    """Give the environment in which no sync reaches the disk; None where that is not possible."""
    found = sorted(Path("/usr/lib").glob("*/libeatmydata.so*"))
    return {**os.environ, "LD_PRELOAD": str(found[0])} if found else None
