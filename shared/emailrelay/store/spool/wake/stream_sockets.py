"""Sockets in a directory of the spool that listen for connections of other processes.

A socket gets its name when it listens already: one that refuses a connection belongs to a dead
process, and is removed.
"""

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Generator

from emailrelay import linux
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import FILE_MODE, Directory
from emailrelay.store.spool.wake.first_sockets import first_sockets
from emailrelay.store.spool.wake.hint_sender import socket_path

_BACKLOG = 128
_MOST_NAMES = 10_000
"""Names in the directory that are read. Further ones would take a noticeable part of a second."""
_NEW = ".new"
"""The end of the name of a socket that does not listen yet."""
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group (unix(7), SO_PEERCRED)."""


class OwnSocket:
    """A socket of this process that listens."""

    def __init__(self, directory: Directory, name: str, opened: socket.socket) -> None:
        self._directory, self._name = directory, name
        self.opened = opened

    def is_there(self) -> bool:
        """Tell if it still has its name: an administrator may have cleared the directory."""
        return files.is_there(self._directory / self._name)


@contextlib.contextmanager
def listening(directory: Directory, name: str, mode: int = FILE_MODE) -> Generator[OwnSocket]:
    """Listen at a new socket of this process, which is removed after the block.

    Raises:
        OSError: no socket can be made there.

    """
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.settimeout(0)
        # The mode is set before it has a name: later the name could lead to another file.
        os.fchmod(opened.fileno(), mode)
        opened.bind(socket_path(directory, name + _NEW))
        opened.listen(_BACKLOG)
        files.rename(directory / (name + _NEW), directory / name)
        yield OwnSocket(directory, name, opened)
    finally:
        opened.close()
        for made in (name + _NEW, name):
            with contextlib.suppress(OSError):
                files.remove(directory / made)


def found(directory: Directory) -> list[str]:
    """Return the names of sockets that listen; the directory may be missing."""
    try:
        names = first_sockets(directory, _MOST_NAMES)
    except FileNotFoundError:
        return []
    return [name for name in names if not name.endswith(_NEW)]


def connected(directory: Directory, name: str) -> socket.socket:
    """Connect to one socket; remove it if its process has died.

    Raises:
        OSError: it cannot be reached, or is another's.

    """
    owner = _owner(directory, name)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.settimeout(0)
        try:
            opened.connect(socket_path(directory, name))
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):  # another user's, for example
                files.remove(directory / name)
            raise
        _check_listener(opened, owner, name)
    except OSError:
        opened.close()
        raise
    return opened


def remove_dead(directory: Directory, begin: str) -> None:
    """Remove the sockets of dead processes whose names begin so."""
    for name in found(directory):
        if name.startswith(begin):
            with contextlib.suppress(OSError):
                connected(directory, name).close()


def _owner(directory: Directory, name: str) -> int:
    """Return the user that a socket belongs to.

    Raises:
        OSError: it is not a socket, or a member of the group has put it into a sticky spool.

    """
    status, above = files.status_of(directory / name), os.fstat(directory.fileno())
    if not stat.S_ISSOCK(status.st_mode):
        raise OSError(f"{directory}/{name} is not a socket; remove it")
    if above.st_mode & stat.S_ISVTX and status.st_uid not in {os.geteuid(), above.st_uid}:
        raise PermissionError(f"{directory}/{name} belongs to user {status.st_uid}; remove it")
    return status.st_uid


def _check_listener(opened: socket.socket, owner: int, name: str) -> None:
    """Refuse a listener of another user: a link may have led to a foreign socket."""
    if not linux.AVAILABLE:
        return
    octets = opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(octets)
    if user != owner:
        raise PermissionError(f"user {user} listens at the socket {name} of user {owner}")
