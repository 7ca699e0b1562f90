"""Syncs that the kernel carries out side by side, while no thread of this process waits for them.

This is the asynchronous I/O of Linux (io_submit(2)). One system call begins any number of syncs,
and a descriptor becomes readable when some of them have ended. Each one does what fsync(2) or
fdatasync(2) does, and reports the error that its own open file has.
"""

import ctypes
import errno
import os
import platform
import select
import struct
import sys
from collections.abc import Sequence

from emailrelay import linux

ROOM = 1024
"""Syncs that may be under way at once, of the 65,536 in a system (fs.aio-max-nr)."""
_AT_ONCE = 256
"""Syncs that one system call begins at most, and ends that one tells."""
_CALLS = {
    "x86_64": (206, 207, 208, 209),
    "aarch64": (0, 1, 4, 2),
    "riscv64": (0, 1, 4, 2),
    "ppc64le": (227, 228, 229, 230),
    "s390x": (243, 244, 245, 246),
}
"""The numbers of io_setup, io_destroy, io_getevents and io_submit, which have no C function."""
_REQUEST = struct.Struct("=QIiHhIQQqQII")
"""struct iocb: key, two of the kernel, command, priority, file, four unused, flag, descriptor."""
_END = struct.Struct("=QQqq")
"""struct io_event: key, address of the request, result, a second result."""
_FSYNC, _FDATASYNC = 2, 3
_TRIAL = 5000
"""Milliseconds that a sync of nothing may take at the start."""
_TELL = 1
"""IOCB_FLAG_RESFD: the end is told by a descriptor."""


class KernelSyncs:
    """The syncs of one process, which are begun and told of in one thread."""

    def __init__(self) -> None:
        """Prepare for them.

        Raises:
            OSError: the kernel does not offer it, or has no room.

        """
        numbers = _CALLS.get(platform.machine())
        if not linux.AVAILABLE or numbers is None or sys.maxsize < 2**32:
            raise _missing()
        set_up, self._destroy, self._get_ends, self._submit = map(ctypes.c_long, numbers)
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._context = ctypes.c_ulong(0)
        if self._call(set_up, ctypes.c_uint(ROOM), ctypes.byref(self._context)) != 0:
            raise _error()
        self._requests = ctypes.create_string_buffer(_AT_ONCE * _REQUEST.size)
        begins = ctypes.addressof(self._requests)
        addresses = [begins + number * _REQUEST.size for number in range(_AT_ONCE)]
        self._addresses = (ctypes.c_void_p * _AT_ONCE)(*addresses)
        self._found = ctypes.create_string_buffer(_AT_ONCE * _END.size)
        self.ends = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable when a sync has ended."""
        self._try()

    def _try(self) -> None:
        """Refuse a kernel or a sandbox that does not do all this."""
        nameless = linux.nameless_file("trial")
        begun = self.begin(0, (nameless,)) == [None]
        os.close(nameless)
        if begun:
            waiting = select.poll()
            waiting.register(self.ends, select.POLLIN)
            waiting.poll(_TRIAL)
        if not begun or self.ended() != [(0, None)]:
            self.close()
            raise _missing()

    def begin(
        self, key: int, files: Sequence[int], directories: Sequence[int] = ()
    ) -> list[OSError | None]:
        """Begin to sync the data of open files, and directories; return an error for each refused.

        They have the keys ``key``, ``key + 1`` and so on. Data: see ``files.sync_data``.
        """
        syncs = [(file, _FDATASYNC) for file in files]
        syncs += [(directory, _FSYNC) for directory in directories]
        refused: list[OSError | None] = []
        for first in range(0, len(syncs), _AT_ONCE):
            refused += self._begin(key + first, syncs[first : first + _AT_ONCE])
        return refused

    def _begin(self, key: int, syncs: Sequence[tuple[int, int]]) -> list[OSError | None]:
        for number, (file, command) in enumerate(syncs):
            _REQUEST.pack_into(
                *(self._requests, number * _REQUEST.size),
                *(key + number, 0, 0, command, 0, file, 0, 0, 0, 0, _TELL, self.ends),
            )
        refused: list[OSError | None] = []
        while len(refused) < len(syncs):
            rest = ctypes.byref(self._addresses, len(refused) * ctypes.sizeof(ctypes.c_void_p))
            count = ctypes.c_long(len(syncs) - len(refused))
            begun = self._call(self._submit, self._context, count, rest)
            # The kernel stops at a file that it refuses. The next call begins there and tells why.
            refused += [None] * begun if begun > 0 else [_error()]
        return refused

    def ended(self) -> list[tuple[int, OSError | None]]:
        """Return the keys of syncs that have ended, each with its error. Does not wait."""
        try:
            os.eventfd_read(self.ends)
        except BlockingIOError:
            return []
        found: list[tuple[int, OSError | None]] = []
        while True:
            count = self._call(
                *(self._get_ends, self._context, ctypes.c_long(0), ctypes.c_long(_AT_ONCE)),
                *(self._found, None),
            )
            for number in range(count):
                key, _, result, _ = _END.unpack_from(self._found, number * _END.size)
                error = OSError(-result, os.strerror(-result)) if result < 0 else None
                found.append((key, error))
            if count < _AT_ONCE:
                return found

    def close(self) -> None:
        """Give everything back, after the last end."""
        self._call(self._destroy, self._context)
        os.close(self.ends)


def _error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


def _missing() -> OSError:
    return OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
