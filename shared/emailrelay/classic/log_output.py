"""The outputs of the legacy log: standard error or a file, and syslog."""

import errno
import os
import stat
import sys
import syslog
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from emailrelay.classic import as_user
from emailrelay.classic.command_line import GivenOptions
from emailrelay.classic.identity import Identity
from emailrelay.classic.log_lines import ClassicLine, Severity, written

_PRIORITY = MappingProxyType(
    {
        Severity.INFO: syslog.LOG_INFO,
        Severity.WARNING: syslog.LOG_WARNING,
        Severity.ERROR: syslog.LOG_ERR,
    }
)

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
"""The flags to open a log file with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicLogOptions:
    """The options of the log; see ``options``."""

    everything: bool
    """Log events of every level, not only warnings and errors."""
    file: str | None
    facility: str | None
    """The syslog facility; None: no syslog."""
    time: bool
    address: bool
    close_stderr: bool

    def written(self, line: ClassicLine, now: float) -> str | None:
        """Return a line for a file or standard error; None if its level does not belong there."""
        if line.severity is Severity.INFO and not self.everything:
            return None
        stamp = now if self.time else None
        return f"emailrelay: {written(line, now=stamp, address=self.address)}\n"


def log_options(asked: GivenOptions) -> ClassicLogOptions:
    """Read the options of the log."""
    in_front = asked.values_of("log-format")
    to_syslog = asked.on("syslog") or not asked.on("no-syslog")
    return ClassicLogOptions(
        everything=asked.on("log"),
        file=asked.value("log-file"),
        facility=asked.value_or_default("syslog") if to_syslog else None,
        time=asked.on("log-time") or "time" in in_front,
        address=asked.on("log-address") or "address" in in_front,
        close_stderr=asked.on("close-stderr"),
    )


class InheritedLog(NamedTuple):
    """The log file, for a service that inherits its ``descriptor`` and writes to it."""

    descriptor: int
    options: ClassicLogOptions


def path_at(file: str | None, now: float) -> str:
    """Return the path of the log file at a time, with the date for %d."""
    return (file or "").replace("%d", time.strftime("%Y%m%d", time.localtime(now)))


class LogOutput:
    """The open log. Trouble with it never stops mail: a line that cannot be written is lost."""

    def __init__(
        self,
        options: ClassicLogOptions,
        clock: Callable[[], float] = time.time,
        run_as: Identity | None = None,
    ) -> None:
        """Open the log, for ``run_as`` if root will become that user; raise OSError."""
        self._options = options
        self._clock = clock
        self._run_as = run_as
        self._file: int | None = None
        self._path = ""
        # With --close-stderr, standard error gets only the errors of the start.
        self._stderr = options.file is None and not options.close_stderr
        self._starting = True
        if options.facility is not None:
            facility: int = getattr(syslog, f"LOG_{options.facility.upper()}")
            syslog.openlog("emailrelay", syslog.LOG_PID, facility)
        if options.file is not None:
            self._open(self._path_now())

    def write(self, line: ClassicLine) -> None:
        """Write one line to all its outputs."""
        text = self._options.written(line, self._clock())
        if text is None:
            return
        if self._options.facility is not None:
            syslog.syslog(_PRIORITY[line.severity], written(line, address=self._options.address))
        if self._options.file is not None and not line.in_file:
            self._rotate()
            if self._file is not None:
                with suppress(OSError):
                    os.write(self._file, text.encode())
        if (self._starting and line.severity is not Severity.INFO) or self._stderr:
            with suppress(OSError):
                sys.stderr.write(text)
                sys.stderr.flush()

    def started(self) -> None:
        """Stop writing errors of the start to standard error, because the start has succeeded."""
        self._starting = False

    def reopen(self) -> None:
        """Open the file again, because another program may have renamed it."""
        if self._options.file is not None:
            with suppress(OSError):
                self._open(self._path_now())

    def _path_now(self) -> str:
        return path_at(self._options.file, self._clock())

    def for_service(self) -> InheritedLog | None:
        """Return the file, for a service that writes its own lines to it.

        None if there is no plain file, but a pipe for example: its reader may be slow and must not
        delay a service.
        """
        if self._file is None:
            return None
        self._rotate()
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            return None
        return InheritedLog(self._file, self._options)

    def _rotate(self) -> None:
        path = self._path_now()
        if path != self._path:
            # If the next day's file cannot be made, the log stays in the old one.
            with suppress(OSError):
                self._open(path)
            self._path = path

    def _open(self, path: str) -> None:
        opened = as_user.act(path, self._run_as, self._opened)
        if self._file is not None:
            os.close(self._file)
        self._file, self._path = opened, path

    def _opened(self, path: str) -> int:
        if self._run_as is None or os.geteuid() != 0:
            return os.open(path, FLAGS, 0o640)
        opened = os.open(path, FLAGS | os.O_NOFOLLOW, 0o640)
        try:
            _give_to(opened, self._run_as, path)
        except OSError:
            os.close(opened)
            raise
        return opened


def _give_to(descriptor: int, run_as: Identity, path: str) -> None:
    """Give a file that root opened to the user who will have to open it again."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != 0:
        text = (
            f"is not a plain file with a single name that belongs to root or to user {run_as.name}"
        )
        raise PermissionError(errno.EPERM, text, path)
    os.fchown(descriptor, run_as.user, run_as.group)
