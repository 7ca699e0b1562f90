"""Opens and reads the regular files of a spool: users of the group may put others there.

A link, a FIFO, a directory or a file with a second name is not followed, and never blocks.
"""

import contextlib
import errno
import os
import stat
import zlib

from emailrelay import linux
from emailrelay.store.spool.disk import file_octets, files
from emailrelay.store.spool.disk.directory import Location

_APPEND = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK
_TO_READ = linux.reading_flags()


class NoRegularFileError(OSError):
    """A name leads to a link, a FIFO, a directory, or a file that has a second name."""

    def __init__(self, at: Location) -> None:
        super().__init__(errno.EINVAL, "no regular file", str(at))


def open_regular(at: Location, *, alone: bool = True) -> int | None:
    """Open a file for reading; None if there is none, or it is not a regular file.

    A link, a FIFO, a directory or (``alone``) a file with a second hard link is a mistake or an
    attack: it is not followed, and never blocks.
    """
    opened = open_with_status(at, alone=alone)
    return None if opened is None else opened[0]


def open_with_status(
    at: Location, *, alone: bool = True, appends: bool = False
) -> tuple[int, os.stat_result] | None:
    """Do as ``open_regular``, and return the file's status, too.

    ``appends``: it is opened for reading and appending.
    """
    try:
        return _opened_regular(at, alone=alone, appends=appends)
    except (FileNotFoundError, NoRegularFileError):
        return None


def _opened_regular(at: Location, *, alone: bool, appends: bool) -> tuple[int, os.stat_result]:
    try:
        descriptor = files.opened(at, _APPEND) if appends else _opened_to_read(at)
    except OSError as error:
        # ELOOP: a link. ENXIO: a socket, or a device that is not there.
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NoRegularFileError(at) from error
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and (status.st_nlink == 1 or not alone):
        return descriptor, status
    os.close(descriptor)
    raise NoRegularFileError(at)


def open_with_octets(at: Location, length: int, crc32: int) -> tuple[int, bytes] | None:
    """Open a small file that is known, and return its octets, too; None if it is another one.

    The known octets are proof enough: no link, device or stranger's file has them by chance.
    """
    try:
        descriptor = _opened_to_read(at)
    except OSError:  # ``open_with_status`` tells what it is
        return None
    try:
        octets = os.pread(descriptor, length + 1, 0)
    except OSError:
        octets = b""
    if len(octets) == length and zlib.crc32(octets) == crc32:
        return descriptor, octets
    os.close(descriptor)
    return None


def _opened_to_read(at: Location) -> int:
    if _TO_READ != os.O_RDONLY:
        with contextlib.suppress(PermissionError, IsADirectoryError):
            return files.opened(at, _TO_READ | os.O_NONBLOCK)
    return files.opened(at, os.O_RDONLY | os.O_NONBLOCK)


def read(at: Location) -> bytes | None:
    """Read an envelope file; None if there is none, or it is not a regular file (``open_regular``).

    Raises:
        OSError: as ``read_all``.

    """
    try:
        return read_present(at)
    except NoRegularFileError:
        return None


def read_beginning(at: Location, most: int) -> bytes | None:
    """Read the first ``most`` octets of a file; None if ``open_regular`` does not open it.

    Raises:
        OSError: it cannot be read.

    """
    descriptor = open_regular(at)
    if descriptor is None:
        return None
    try:
        return os.pread(descriptor, most, 0)
    finally:
        os.close(descriptor)


def read_present(at: Location) -> bytes | None:
    """Read an envelope file; None if there is none.

    Raises:
        NoRegularFileError: the name leads to something else.
        OSError: as ``read_all``.

    """
    try:
        descriptor, _ = _opened_regular(at, alone=True, appends=False)
    except FileNotFoundError:
        return None
    try:
        return file_octets.read_all(descriptor)
    finally:
        os.close(descriptor)


def measured(at: Location) -> tuple[int, int] | None:
    """Return the length and the CRC-32 of a file; None if ``open_regular`` does not open it."""
    descriptor = open_regular(at)
    if descriptor is None:
        return None
    try:
        return file_octets.measure(descriptor)
    finally:
        os.close(descriptor)
