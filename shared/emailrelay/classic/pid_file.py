"""The file that holds the daemon's process number while it runs."""

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

_MOST_OCTETS = 32
"""More than a process number and its newline have."""


class PidFile:
    """A written pid file. ``remove`` takes it away, also after the process has become another user."""

    def __init__(self, path: Path, who: Identity | None = None) -> None:
        """Write the number of this process; raise OSError when that is impossible.

        ``who`` is the user that this process, which is root, will become. The file is made with this
        user's rights if they suffice, and has the user's name then.
        """
        self._who = who
        self._pid = os.getpid()
        self._keeper = 0
        self._hold = -1
        self._mine = False
        """Whether the file was made with the rights of who this process will be."""
        self._directory, self._name = as_user.act(str(path), who, self._write)

    def keep_for_another(self) -> None:
        """Leave the removal to a child that stays who we are, before this process becomes another.

        Only root can remove a file in /run. The child ends when this process does, however it ends.
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
        """Write the file; return its directory, held open whatever becomes of the path, and its name."""
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
        # Emptied only when it is known to be a plain file.
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
            with suppress(PermissionError):  # the file of another user, who lets us write
                os.fchmod(descriptor, 0o644)
            file.truncate()
            file.write(f"{self._pid}\n")

    def _keep(self, waiting: int) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        if self._mine and self._who is not None:
            identities.become(self._who)
        # Nobody's socket or pipe may stay open because of this process.
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
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
