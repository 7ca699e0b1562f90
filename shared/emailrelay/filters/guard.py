"""Kills the processes that filter programs leave behind, also after the death of this process.

Each program has a mark in its environment, ``EMAILRELAY_RUN=<this process>.<run>.<start>``. All its
descendants inherit the mark, also those that left its process group with ``setsid``. So a search of
``/proc`` finds them. If this process dies, even by ``kill -9``, the guard does the search: a small
shell that waits for the end of a pipe whose other end only this process holds.

Not chosen: PR_SET_PDEATHSIG needs code between fork and exec, which forbids vfork (measured: 380
programs a second instead of 1,400), and spares grandchildren; ``setpriv`` costs a second exec
(680). The guard cannot find a program that clears its environment *and* leaves its process group.
"""

import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress

from emailrelay import linux, started_programs

MARK = "EMAILRELAY_RUN"
_PASSES = 5
"""Number of passes: a process forked during one pass is found by the next."""
_SCRIPT = f"""
trap '' HUP INT TERM
read -r _
for _ in 1 2 3 4 5; do
    found=$(grep -lz "^{MARK}=$1\\." /proc/[0-9]*/environ | cut -d/ -f3)
    [ "$found" ] || break
    kill -KILL $found
done
"""
_ENDING_SECONDS = 1.0
_NEVER_OLD = 1e12


class Guard:
    """The marks of the filter runs of one process, and the shell that outlives it."""

    def __init__(self) -> None:
        self._owner = secrets.token_hex(8)
        self._runs = 0
        self._shell: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the shell once.

        It has its own session, so that ^C at a terminal does not end it first.
        """
        if self._shell is not None:
            return
        started_programs.note()
        self._shell = subprocess.Popen(  # noqa: S603 - a fixed script, our own token
            ["/bin/sh", "-c", _SCRIPT, "emailrelay-guard", self._owner],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            start_new_session=True,
        )

    def end(self) -> None:
        """Close the pipe: the shell then kills the remaining processes and exits."""
        if self._shell is None or self._shell.stdin is None:
            return
        self._shell.stdin.close()
        try:
            self._shell.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._shell.kill()
            self._shell.wait()
        self._shell = None

    def mark(self, now: float = _NEVER_OLD) -> str:
        """Return the mark of a run that starts at ``now`` (monotonic seconds).

        Without a time, it is of a program that stays running: ``end_older`` leaves it alone.
        """
        self._runs += 1
        return f"{self._owner}.{self._runs}.{_milliseconds(now)}"

    def end_run(self, mark: str) -> None:
        """Kill all processes with this mark; raise OSError if they cannot be listed."""
        self._kill(lambda found: found == mark)

    def end_older(self, then: float) -> None:
        """Kill all processes of runs that this process started up to ``then``."""
        self._kill(lambda found: int(found.rpartition(".")[2]) <= _milliseconds(then))

    def _kill(self, chosen: Callable[[str], bool]) -> None:
        for _ in range(_PASSES):
            pids = [pid for pid, mark in self._marked() if chosen(mark)]
            if not pids:
                return
            for pid in pids:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def _marked(self) -> Iterator[tuple[int, str]]:
        ours = f"{MARK}={self._owner}.".encode()
        for pid, environment in linux.environments():
            for variable in environment.split(b"\0"):
                if variable.startswith(ours):
                    yield pid, variable.decode().partition("=")[2]


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
