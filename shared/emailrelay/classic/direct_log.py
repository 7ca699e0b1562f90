"""The log file that a service writes directly, so a line is there before the answer it explains.

The command opens the file and hands it down. It may open another one later, at SIGHUP or on the next
day: a service notices this by the file's name.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict

from emailrelay import logs
from emailrelay.classic import log_lines
from emailrelay.classic.log_lines import Severity
from emailrelay.classic.log_output import FLAGS, HandedDown, path_at
from emailrelay.events import Event

NONE = "-"
"""Stands for no log file in the arguments of a service."""


def argument(handed: HandedDown | None) -> str:
    """Write what ``use`` reads."""
    return NONE if handed is None else json.dumps(asdict(handed))


def use(told: str) -> None:
    """Write the reports of this process to the file, too, as ``argument`` says."""
    if told != NONE:
        logs.also = DirectLog(HandedDown(**json.loads(told))).write


class DirectLog:
    """The file, as a service has it. Trouble with it never stops mail: a line that fails is lost."""

    def __init__(self, handed: HandedDown) -> None:
        self._options = handed
        self._descriptor = handed.descriptor
        self._identity = _identity(os.fstat(handed.descriptor))
        self._path = path_at(handed.file, time.time())

    def write(self, event: Event) -> None:
        """Write the line of an event, if it belongs there."""
        line = log_lines.of_own(event)
        if line.severity is Severity.INFO and not self._options.everything:
            return
        now = time.time()
        self._follow(path_at(self._options.file, now))
        text = log_lines.written(
            line, now=now if self._options.time else None, address=self._options.address
        )
        with suppress(OSError):
            os.write(self._descriptor, f"emailrelay: {text}\n".encode())

    def _follow(self, path: str) -> None:
        """Go to the file that has the name now. If there is none yet, keep the old file."""
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
