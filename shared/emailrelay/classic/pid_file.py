"""The file with the process id of the daemon, which exists while it runs."""

import errno
import os
import signal
import stat
from contextlib import suppress
from pathlib import Path

from emailrelay import linux
from emailrelay.classic import as_user
from emailrelay.classic import identity as identities
from emailrelay.classic.identity import Identity
from emailrelay.classic.process import redirect_to_null

_MOST_OCTETS = 32
"""More than a process id and its newline need."""


class PidFile:
    """A written pid file. ``remove`` works also after the process has become another user."""

    def __init__(self, path: Path, run_as: Identity | None = None) -> None:
        """Write the id of this process; raise OSError if that is impossible.

        ``run_as`` is the user that this process, which is root, will become. If the rights of this
        user suffice, the file is made with them and belongs to this user.
        """
        self._run_as = run_as
        self._pid = os.getpid()
        self._keeper = 0
        self._hold = -1
        self._mine = False
        """Whether the file was made with the rights of the user that this process will become."""
        self._directory, self._name = as_user.act(str(path), run_as, self._write)

    def leave_removal_to_child(self) -> None:
        """Fork a child that stays root and removes the file; call it before the change of user.

        Only root can remove a file in /run. The child ends when this process does, for any reason.
        """
        waiting, self._hold = os.pipe()
        self._keeper = os.fork()
        if self._keeper == 0:
            try:
                self._keep(waiting)
            finally:
                os._exit(0)
        os.close(waiting)

    def remove(self) -> None:
        """Remove the file if it is still ours; further calls do nothing."""
        if self._keeper:
            os.close(self._hold)
            os.waitpid(self._keeper, 0)
            self._keeper = 0
        else:
            self._remove()

    def _write(self, path: str) -> tuple[int, str]:
        """Write the file; return its directory, open since the path may change, and its name."""
        self._mine = os.geteuid() != 0
        above, name = os.path.split(path)
        directory = os.open(above or ".", linux.directory_flags())
        try:
            self._fill(directory, name, path)
        except OSError:
            os.close(directory)
            raise
        return directory, name

    def _fill(self, directory: int, name: str, path: str) -> None:
        # It is emptied only after the check that it is a plain file.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, 0o644, dir_fd=directory)
        except OSError as error:
            said = "is a symbolic link; remove it" if error.errno == errno.ELOOP else error.strerror
            raise OSError(error.errno, said, path) from error
        with os.fdopen(descriptor, "w") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                text = "is not a plain file with a single name; remove it"
                raise OSError(errno.EPERM, text, path)
            with suppress(PermissionError):  # another user owns the file, but lets us write
                os.fchmod(descriptor, 0o644)
            file.truncate()
            file.write(f"{self._pid}\n")

    def _keep(self, waiting: int) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        if self._mine and self._run_as is not None:
            identities.become(self._run_as)
        # This process must not keep the sockets or pipes of other processes open.
        redirect_to_null(0, 1, 2)
        for descriptor in [int(entry.name) for entry in Path("/dev/fd").iterdir()]:
            if descriptor > 2 and descriptor not in {waiting, self._directory}:
                with suppress(OSError):
                    os.close(descriptor)
        os.read(waiting, 1)
        self._remove()

    def _remove(self) -> None:
        with suppress(OSError):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self._name, flags, dir_fd=self._directory)
            with os.fdopen(descriptor, "rb") as file:
                ours = file.read(_MOST_OCTETS).strip() == b"%d" % self._pid
            if ours:
                os.unlink(self._name, dir_fd=self._directory)
