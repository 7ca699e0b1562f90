"""The names of the files of a spool: created, opened, renamed, removed; no link is followed.

Only this module and ``file_octets`` write into a spool.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Generator, Iterator

from emailrelay import linux
from emailrelay.store.spool.disk import file_octets
from emailrelay.store.spool.disk.directory import MODE, Directory, Location

NOT_VOUCHED_FOR = stat.S_ISVTX
"""In the mode of an envelope that is not synced, since its client waits and was not told 250.

After a power cut the file may be empty, but its name is not there without this mode. So it is not
taken for damaged mail that was acknowledged.
"""


def create(at: Location) -> int:
    """Create a file that did not exist, for owner and group alone, and return its descriptor.

    A directory that was removed meanwhile is made again.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
    mode = at.directory.file_mode()
    try:
        descriptor = opened(at, flags, mode)
    except FileNotFoundError:
        at.directory.renew()
        descriptor = opened(at, flags, mode)
    try:
        if not at.directory.keeps_modes():
            made = os.fstat(descriptor)
            # The umask, or a default ACL; the services' own umask changes nothing.
            if stat.S_IMODE(made.st_mode) != mode:
                os.fchmod(descriptor, mode)
            else:
                at.directory.has_kept_mode()
    except OSError:
        os.close(descriptor)
        remove(at)
        raise
    return descriptor


def opened(at: Location, flags: int, mode: int = 0) -> int:
    """Open as open(2) does, but never a link."""
    try:
        return os.open(
            at.name,
            flags | os.O_NOFOLLOW | os.O_CLOEXEC,
            mode,
            dir_fd=at.directory.fileno(),
        )
    except OSError as error:
        if error.filename == at.name:  # else it names the directory
            error.filename = str(at)
        raise


def open_or_create(at: Location) -> int:
    """Open a regular file for reading and writing, made if it is missing.

    Raises:
        OSError: it cannot be opened or made, or is not a regular file.

    """
    descriptor = open_to_write(at)
    if descriptor is None:
        with contextlib.suppress(FileExistsError):
            return create(at)
        descriptor = open_to_write(at)  # another process was quicker
    if descriptor is None:
        raise FileExistsError(errno.EEXIST, "is not a regular file; remove it", str(at))
    return descriptor


def rename(old: Location, new: Location) -> None:
    """Rename a file or directory; it replaces the file that has the new name."""
    try:
        os.rename(
            old.name,
            new.name,
            src_dir_fd=old.directory.fileno(),
            dst_dir_fd=new.directory.fileno(),
        )
    except OSError as error:
        error.filename, error.filename2 = str(old), str(new)
        raise


def status_of(at: Location) -> os.stat_result:
    """Return the status of the file with a name; a link is not followed.

    Raises:
        FileNotFoundError: there is none.

    """
    try:
        return os.stat(at.name, dir_fd=at.directory.fileno(), follow_symlinks=False)
    except OSError as error:
        if error.filename == at.name:  # else it names the directory
            error.filename = str(at)
        raise


def inode_of(status: os.stat_result) -> tuple[int, int]:
    """Return the device and inode, which are the same for all names of one file."""
    return status.st_dev, status.st_ino


def is_there(at: Location) -> bool:
    """Tell if a name is there, also as a link that leads nowhere."""
    try:
        status_of(at)
    except OSError:
        return False
    return True


def is_directory(at: Location) -> bool:
    """Tell if a name is that of a directory."""
    try:
        return stat.S_ISDIR(status_of(at).st_mode)
    except OSError:
        return False


def listed(directory: Directory) -> list[str]:
    """List the names in a directory."""
    with scanned(directory) as entries:
        return [entry.name for entry in entries]


@contextlib.contextmanager
def scanned(directory: Directory) -> Generator[Iterator["os.DirEntry[str]"]]:
    """Read a directory from its beginning."""
    # The position belongs to the open file, so each reader opens the directory again.
    descriptor = reopened(directory)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)


def reopened(directory: Directory) -> int:
    """Open a directory once more: each open file has its own position, lock and errors."""
    return opened(directory / ".", os.O_RDONLY | os.O_DIRECTORY)


def make_directory(at: Location, mode: int = MODE) -> None:
    """Make a directory that did not exist.

    Raises:
        FileExistsError: the name is taken.

    """
    try:
        try:
            os.mkdir(at.name, mode, dir_fd=at.directory.fileno())
        except FileNotFoundError:  # the directory above was removed
            at.directory.renew()
            os.mkdir(at.name, mode, dir_fd=at.directory.fileno())
    except OSError as error:
        if error.filename == at.name:  # else it names the directory
            error.filename = str(at)
        raise


def remove_tree(at: Location) -> None:
    """Remove a directory and its contents, as far as permitted; no link is followed."""
    from shutil import rmtree  # noqa: PLC0415 - slow, and emailrelay-submit does without

    rmtree(at.name, ignore_errors=True, dir_fd=at.directory.fileno())


def remove_directory(at: Location) -> None:
    """Remove an empty directory."""
    os.rmdir(at.name, dir_fd=at.directory.fileno())


def open_to_write(at: Location) -> int | None:
    """Open a regular file for reading and writing; None if there is none."""
    try:
        descriptor = opened(at, os.O_RDWR | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def open_to_append(at: Location) -> int:
    """Open a regular file to append to it, made if it is missing, for owner and group alone.

    Raises:
        OSError: it cannot be opened or made, or is not a regular file with one name.

    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK
    try:
        descriptor = opened(at, flags)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.close(create(at))
        descriptor = opened(at, flags)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise FileExistsError(errno.EEXIST, "is not a regular file with one name; remove it", str(at))


def exists(at: Location) -> bool:
    """Tell if a name is there; half the cost of ``os.path.exists`` for a missing name."""
    return os.access(at.name, os.F_OK, dir_fd=at.directory.fileno())


def sync_directory(directory: Directory) -> None:
    """Make a directory's names durable."""
    # The kernel reports an error once to each open file: no other thread may get this one's.
    descriptor = reopened(directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def close(descriptor: int) -> None:
    """Close a file. Errors do not matter: durable data was synced before."""
    try:
        os.close(descriptor)
    except OSError:
        return


def remove(at: Location) -> None:
    """Remove a name that may be gone already."""
    try:
        take_away(at)
    except FileNotFoundError:
        return


def take_away(at: Location) -> None:
    """Remove a name.

    Raises:
        FileNotFoundError: it was removed before.

    """
    try:
        os.unlink(at.name, dir_fd=at.directory.fileno())
    except OSError as error:
        if error.filename == at.name:  # else it names the directory
            error.filename = str(at)
        raise


def create_private(at: Location, octets: bytes = b"") -> int:
    """Create a file that did not exist, for this user alone; return it open."""
    descriptor = opened(at, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        file_octets.write_all(descriptor, octets)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def copy(source: int, target: Location, size: int) -> int:
    """Copy an open file's first ``size`` octets to a new one; see ``create_private``."""
    descriptor = create_private(target)
    try:
        offset = 0
        while offset < size:
            copied = linux.copy_octets(source, descriptor, offset, size - offset)
            if copied == 0:
                break
            offset += copied
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
