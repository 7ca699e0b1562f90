"""Directories held by descriptors, and names in them.

The administrator may name the spool directory by any path. Below it no path is followed: a name is
looked up in an open directory, and a link there is never a directory of ours. So users who may
rename entries in the spool cannot lead us out of it. See
``docs/decisions/directory-descriptors.md``.
"""

import contextlib
import errno
import os
import stat
import time
from _thread import allocate_lock  # importing threading takes longer than submitting a message
from typing import NamedTuple

from emailrelay.store.spool.disk import names

MODE, PRIVATE = 0o770, 0o700
FILE_MODE, _FILE_MODE_IN_STICKY = 0o660, 0o640
CLOCK_GRAIN = 20_000_000
"""Nanoseconds within which two changes of a directory may carry the same time."""
_LOOK = 1.0
"""Seconds after which the next use checks that the path still leads to the open directory."""
_PASSED_ON = stat.S_ISGID | stat.S_ISVTX
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def in_sticky(mode: int, name: str) -> int:
    """Return the mode of a directory in a sticky spool that would have ``mode`` in another one.

    Members of the group submit and look: only the owner works in most directories.
    """
    closed = (stat.S_IRWXG | stat.S_IRWXO) & ~names.FOR_MEMBERS.get(name, 0)
    return mode & ~closed | stat.S_ISVTX


class Directory:
    """A directory that stays open, and is opened again if it was replaced. Threads may share it.

    The number of its descriptor never changes, so a thread that has just asked for it can use it.
    """

    __slots__ = (
        "_above", "_descriptor", "_guard", "_is", "_keeps_modes", "_makes", "_name", "_next_look",
        "_private", "_sticky", "path",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        *,
        above: "Directory | None" = None,
        name: str = "",
        makes: bool = True,
        private: bool = False,
    ) -> None:
        """Describe a directory; it is opened at its first use.

        ``makes``: a missing one is made. ``private``: it belongs to this user alone.
        """
        self.path = path
        self._above, self._name, self._makes, self._private = above, name, makes, private
        self._descriptor, self._is, self._next_look = -1, (-1, -1), 0.0
        self._keeps_modes, self._sticky = 0.0, False
        self._guard = allocate_lock()

    def below(self, name: str, *, makes: bool = True, private: bool = False) -> "Directory":
        """Return a directory in this one."""
        path = f"{self.path}/{name}"
        return Directory(path, above=self, name=name, makes=makes, private=private)

    def renamed(self, name: str) -> "Directory":
        """Return this open directory as it is after a rename in the directory above.

        The descriptor goes over; this object finds nothing under the old name any more.
        """
        if self._above is None:
            raise ValueError("the directory above is not known")
        renamed = self._above.below(name, makes=False, private=self._private)
        with self._guard:
            known = self._descriptor, self._is, self._next_look, self._sticky
            renamed._take(known)  # noqa: SLF001 - of this class
            self._descriptor, self._next_look = -1, 0.0
        return renamed

    def _take(self, known: tuple[int, tuple[int, int], float, bool]) -> None:
        self._descriptor, self._is, self._next_look, self._sticky = known

    def __truediv__(self, name: str) -> "Location":
        """Return a name in this directory.

        Raises:
            OSError: it is a path, as an attacker may have put into a file of the spool.

        """
        if "/" in name:
            raise OSError(errno.EINVAL, "is a path, not a name in the directory", name)
        return Location(self, name)

    def __str__(self) -> str:
        """Return the path, for messages."""
        return self.path

    def fileno(self) -> int:
        """Return the descriptor.

        Raises:
            OSError: there is no such directory, or we may not trust it.

        """
        if time.monotonic() >= self._next_look:
            self.renew()
        return self._descriptor

    @property
    def device(self) -> int:
        """The device of the directory that is open, or was open last."""
        return self._is[0]

    def in_sticky_spool(self) -> bool:
        """Tell if the spool was sticky when it was opened.

        Raises:
            OSError: as ``fileno``.

        """
        self.fileno()
        return self._sticky

    def file_mode(self) -> int:
        """Return the mode of new files: members of a sticky spool's group may only look.

        Raises:
            OSError: as ``fileno``.

        """
        return _FILE_MODE_IN_STICKY if self.in_sticky_spool() else FILE_MODE

    def keeps_modes(self) -> bool:
        """Tell if a file made here within the last second had the mode that was asked for."""
        return time.monotonic() < self._keeps_modes

    def has_kept_mode(self) -> None:
        """Note such a file: neither the umask nor a default ACL changes the mode at present."""
        self._keeps_modes = time.monotonic() + _LOOK

    def renew(self) -> None:
        """Open the directory at the path, unless it is open already.

        Raises:
            OSError: as ``fileno``.

        """
        with self._guard:
            if self._descriptor < 0 or self._has_moved():
                fresh, status = self._opened()
                if self._descriptor < 0:
                    self._descriptor = fresh
                else:
                    os.dup2(fresh, self._descriptor, inheritable=False)
                    os.close(fresh)
                self._is, self._keeps_modes = (status.st_dev, status.st_ino), 0.0
                above = self._above
                self._sticky = _is_sticky(status) if above is None else above._sticky  # noqa: SLF001
            self._next_look = time.monotonic() + _LOOK

    def renew_all(self) -> None:
        """Renew this directory and those above it.

        Raises:
            OSError: as ``fileno``.

        """
        if self._above is not None:
            self._above.renew_all()
        self.renew()

    def check(self) -> None:
        """Make sure that the path still leads to the open directory.

        Raises:
            OSError: it does not; the next use opens the directory that is there now.

        """
        if self._descriptor >= 0 and self._has_moved():
            self._next_look = 0.0
            raise OSError(errno.ESTALE, "was moved or replaced", self.path)

    def _has_moved(self) -> bool:
        try:
            if self._above is None:
                status = os.stat(self.path)
            else:
                status = os.stat(self._name, dir_fd=self._above.fileno(), follow_symlinks=False)
        except OSError:
            return True
        return (status.st_dev, status.st_ino) != self._is

    def _opened(self) -> tuple[int, os.stat_result]:
        try:
            try:
                descriptor = self._open()
            except FileNotFoundError:
                if not self._makes:
                    raise
                descriptor = self._make()
            try:
                status = os.fstat(descriptor)
                self._check(status)
                self._close_to_members(descriptor, status)
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            error.filename = self.path
            raise
        return descriptor, status

    def _open(self) -> int:
        if self._above is None:
            return os.open(self.path, _OPEN)
        try:
            return os.open(self._name, _OPEN | os.O_NOFOLLOW, dir_fd=self._above.fileno())
        except NotADirectoryError as error:
            raise OSError(errno.ENOTDIR, "is a link or no directory; remove it") from error

    def _make(self) -> int:
        """Make the directory, for owner and group alone, and open it."""
        with contextlib.suppress(FileExistsError):
            if self._above is None:
                _make_with_parents(self.path)
            else:
                mode = PRIVATE if self._private else MODE
                if _is_sticky(os.fstat(self._above.fileno())):
                    mode = stat.S_IRWXU | in_sticky(mode, self._name) & stat.S_IRWXG
                os.mkdir(self._name, mode, dir_fd=self._above.fileno())
                os.fsync(self._above.fileno())
        descriptor = self._open()
        found = os.fstat(descriptor)
        if self._private:
            wanted = PRIVATE
        else:
            above = found if self._above is None else os.fstat(self._above.fileno())
            wanted = stat.S_IMODE(found.st_mode) | MODE | above.st_mode & _PASSED_ON
            if self._above is not None and _is_sticky(above):
                wanted = in_sticky(wanted, self._name)
        # The umask may have removed the group's rights. A user who may rename entries here could
        # have put another directory of ours in this one's place; an empty one exposes nothing.
        ours = found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != wanted
        if ours and not os.listdir(descriptor):
            os.fchmod(descriptor, wanted)
        return descriptor

    def _check(self, found: os.stat_result) -> None:
        """Refuse a directory below the spool with write access for all, or of another user."""
        if self._above is None:
            return
        if self._private:
            if found.st_uid != os.geteuid():
                raise PermissionError(
                    errno.EPERM, f"belongs to user {found.st_uid}, not to {os.geteuid()}"
                )
            if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise PermissionError(
                    errno.EPERM, f"others have access; run: chmod 700 {self.path}"
                )
            return
        if found.st_mode & stat.S_IWOTH:
            raise PermissionError(errno.EPERM, "is writable by all users; remove it")
        above = os.fstat(self._above.fileno())
        if found.st_uid in (os.geteuid(), above.st_uid):
            return
        # The users of several services may share a group. In a sticky directory none of them can
        # replace files of another, so a directory of another user is not expected there.
        if above.st_mode & stat.S_ISVTX or found.st_gid != above.st_gid:
            raise PermissionError(
                errno.EPERM, f"belongs to user {found.st_uid}, a stranger to the spool; remove it"
            )

    def _close_to_members(self, descriptor: int, found: os.stat_result) -> None:
        """Take rights from the group if the spool has become sticky since this one was made.

        So this cannot harm another directory of the same user.
        """
        if self._above is None or self._private or not self._makes:
            return
        mode = stat.S_IMODE(found.st_mode)
        wanted = in_sticky(mode, self._name)
        if mode == wanted or not _is_sticky(os.fstat(self._above.fileno())):
            return
        if found.st_uid != os.geteuid():
            return
        if os.geteuid() and found.st_gid not in {os.getegid(), *os.getgroups()}:
            return  # Linux would clear the set-group-ID bit, which new files need (chmod(2))
        # A file system that cannot be changed, or a service manager that forbids it: reported at
        # the opening (``directory_check.open_to_members``).
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, wanted)

    def __del__(self) -> None:
        """Close a descriptor that is no longer in use, as files do."""
        if self._descriptor >= 0:
            self.close()

    def close(self) -> None:
        """Close the descriptor; the next use opens it again."""
        with self._guard:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor, self._next_look = -1, 0.0


def _is_sticky(status: os.stat_result) -> bool:
    return bool(status.st_mode & stat.S_ISVTX)


def _make_with_parents(path: str) -> None:
    """Make a directory and those missing above it, with lasting names.

    The files in a directory last no longer than the directory's name.
    """
    missing = [path]
    while not os.path.exists(above := os.path.dirname(missing[-1])):
        missing.append(above)
    os.makedirs(path, MODE)
    for made in missing:
        # Another user's directory may be unreadable; its owner has made the path to it.
        with contextlib.suppress(PermissionError):
            descriptor = os.open(os.path.dirname(made), _OPEN)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


class Location(NamedTuple):
    """A name in a directory."""

    directory: Directory
    name: str

    def __str__(self) -> str:
        """Return the whole path, for messages."""
        return f"{self.directory.path}/{self.name}"

    def plus(self, suffix: str) -> "Location":
        """Return the name with a suffix."""
        return Location(self.directory, self.name + suffix)
