"""A started program, for the process that waits for it."""

import os
import subprocess
from time import monotonic, sleep

_PAUSE = 0.001


class Child:
    """The part of ``subprocess.Popen`` that the owner of a program uses."""

    def __init__(self, pid: int) -> None:
        """Take over the duty to wait for the process."""
        self.pid = pid
        self.returncode: int | None = None
        """The exit code, or the negative number of the signal that ended it; None: it runs."""

    def poll(self) -> int | None:
        """Look whether the program has ended, and return ``returncode``."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, ``timeout`` seconds at most.

        Raises:
            subprocess.TimeoutExpired: it has not ended.

        """
        then = float("inf") if timeout is None else monotonic() + timeout
        while (code := self.poll()) is None:
            if monotonic() > then:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            sleep(_PAUSE)
        return code
