"""The file that holds the daemon's process number while it runs."""

import os
import signal
from contextlib import suppress
from pathlib import Path


class PidFile:
    """A written pid file. ``remove`` takes it away, also after the process has become another user."""

    def __init__(self, path: Path) -> None:
        """Write the number of this process; raise OSError when that is impossible."""
        self._path = path
        self._pid = os.getpid()
        self._keeper = 0
        self._hold = -1
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o644)
            file.write(f"{self._pid}\n")

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
        """Remove the file if it is still ours."""
        if self._keeper:
            os.close(self._hold)
            os.waitpid(self._keeper, 0)
        else:
            self._remove()

    def _keep(self, waiting: int) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        # Nobody's socket or pipe may stay open because of this process.
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        for descriptor in [int(entry.name) for entry in Path("/dev/fd").iterdir()]:
            if descriptor > 2 and descriptor != waiting:
                with suppress(OSError):
                    os.close(descriptor)
        os.read(waiting, 1)
        self._remove()

    def _remove(self) -> None:
        with suppress(OSError):
            if self._path.read_text().strip() == str(self._pid):
                self._path.unlink()
