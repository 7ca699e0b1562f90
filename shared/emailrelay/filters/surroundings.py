"""The surroundings of all filter programs: environment, core files, and the end of their group."""

import os
import resource
import signal
import subprocess
from contextlib import suppress
from typing import TypeAlias

from emailrelay.filters.child import Child
from emailrelay.filters.guard import MARK

StartedProgram: TypeAlias = Child | subprocess.Popen[bytes]
"""A program that was started, whichever way."""
_REAPING_SECONDS = 1.0


def environment(mark: str) -> dict[str, str]:
    """Return the environment: it has nothing of ours, and a fixed search path."""
    return {"PATH": "/usr/bin:/bin", "IFS": " \t\n", MARK: mark}


def forbid_core(pid: int) -> None:
    """Forbid a program to write a core file, which would hold the mail.

    The limit comes a moment after exec because a function between fork and exec costs three times
    the rest.
    """
    with suppress(OSError):  # EPERM: a set-user-id program, which dumps no core
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def kill_group(process: StartedProgram) -> None:
    """Kill a program's group, and wait a short time for it, so that it leaves no zombie."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_REAPING_SECONDS)
