"""The log file that a service writes directly, so that a line is there before the SMTP reply.

The command opens the file, and the service inherits it. At SIGHUP or on the next day the command
may open another one; the service notices this by the file's name.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict

from emailrelay import logs
from emailrelay.classic import log_lines
from emailrelay.classic.log_output import FLAGS, ClassicLogOptions, InheritedLog, path_at
from emailrelay.events.event import Event

NONE = "-"
"""Stands for no log file in the arguments of a service."""


def argument(log: InheritedLog | None) -> str:
    """Return the argument for ``use``."""
    return NONE if log is None else json.dumps((log.descriptor, asdict(log.options)))


def use(argument: str) -> None:
    """Also write the events of this process to the file that ``argument`` describes."""
    if argument != NONE:
        descriptor, options = json.loads(argument)
        logs.also = DirectLog(InheritedLog(descriptor, ClassicLogOptions(**options))).write


class DirectLog:
    """The file in a service. A line that cannot be written is lost; this never stops mail."""

    def __init__(self, log: InheritedLog) -> None:
        self._descriptor, self._options = log
        self._identity = _identity(os.fstat(log.descriptor))
        self._path = path_at(self._options.file, time.time())

    def write(self, event: Event) -> None:
        """Write the line of an event, if its level belongs in the log."""
        now = time.time()
        text = self._options.written(log_lines.of_own(event), now)
        if text is None:
            return
        self._follow(path_at(self._options.file, now))
        with suppress(OSError):
            os.write(self._descriptor, text.encode())

    def _follow(self, path: str) -> None:
        """Change to the file that has this name now. If there is none yet, keep the old file."""
        with suppress(OSError):
            try:
                found = _identity(os.stat(path))  # noqa: PTH116 -- one system call for each line
            except FileNotFoundError:
                if path == self._path:
                    return
                found = None
            if found == self._identity:
                return
            opened = os.open(path, FLAGS, 0o640)
            os.dup2(opened, self._descriptor, inheritable=False)
            os.close(opened)
            self._identity, self._path = _identity(os.fstat(self._descriptor)), path


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
