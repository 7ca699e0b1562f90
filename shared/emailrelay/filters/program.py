"""Runs one filter program on a work copy: starts it, reads its output, and ends it in time.

A thread starts it (``spawn``), or else a plain ``Popen`` (vfork, since nothing has to run between
fork and exec). The kernel's pidfd tells the event loop of its end, without a SIGCHLD handler. We
wait for the process alone, never for the end of its output: a background child may keep that open
for ever.
"""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

from emailrelay import linux, started_programs
from emailrelay.filters.connections import Connections
from emailrelay.filters.guard import Guard
from emailrelay.filters.milter.connections import MilterConnections
from emailrelay.filters.pipe import Pipes
from emailrelay.filters.program_ends import ProgramEnds
from emailrelay.filters.spawn import Spawner, SpawnRefused, command_of
from emailrelay.filters.surroundings import StartedProgram, environment, forbid_core, kill_group
from emailrelay.filters.verdict import CAPTURED
from emailrelay.filters.waits import FilterTooLate, Waits
from emailrelay.queue_id import QueueId
from emailrelay.running_loop import running_loop

_REAPING_SECONDS = 1.0
_SILENT = 0.02
"""Seconds without reading the output. Most programs have ended by then, their output in the
pipe."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The program exited; ``output`` is the first 64 KiB of its standard output."""

    code: int
    output: bytes


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal ended the program."""

    number: int


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The program was killed because it took too long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ProgramNotStarted:
    """The program could not be executed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A system call failed while the program ran; the program was killed."""

    reason: str


ProgramResult: TypeAlias = Exited | Signalled | TimedOut | ProgramNotStarted | Broken


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramLimits:
    """The time limits of programs, in seconds."""

    timeout: float = 60.0
    grace: float = 5.0
    """Seconds between SIGTERM and SIGKILL, so that a program can clean up."""


class Programs:
    """Runs filter programs for one process, and keeps its connections to network filters.

    An ``async with`` block; leaving it ends what is left.
    """

    def __init__(
        self,
        limits: ProgramLimits | None = None,
        *,
        domain: str | None = None,
        debug: bool = False,
    ) -> None:
        """With ``debug``, programs share our standard error instead of ``/dev/null``."""
        self.limits = limits or ProgramLimits()
        """The limits of programs that start from now on."""
        self.domain = domain
        """The setting ``domain``: the name of this host for filters."""
        self._waits, self._ends = Waits(), ProgramEnds()
        self.connections = Connections(waits=self._waits)
        """Connections to filters that are servers."""
        self.milters = MilterConnections()
        self._stderr = None if debug else subprocess.DEVNULL
        self._guard = Guard()
        self._spawner = Spawner()
        self.pipes = Pipes(self._guard, self._stderr, self._waits)
        """Programs that stay running."""
        self._sweeper: asyncio.Task[None] | None = None
        self._ran = asyncio.Event()

    @property
    def host(self) -> str:
        """Return the name of this host: ``domain``, or the name of the machine."""
        return self.domain or socket.gethostname()

    async def __aenter__(self) -> Self:
        """Start to look for background processes of programs; idle until one runs."""
        self._sweeper = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill all descendants of filter programs."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait((self._sweeper,))
        await self.pipes.close()
        self._spawner.close()
        self._guard.end()
        self.connections.close()
        self.milters.close()
        self._waits.close()
        self._ends.close()

    async def run(self, argv: Sequence[str | Path], *, message: QueueId) -> ProgramResult:
        """Run a program to its end or to the time-out; cancelled, kill it and all in its group.

        ``argv`` is passed as it stands, without a shell. What the program leaves in the background
        may go on until the time-out, counted from the program's start, and is killed then.
        """
        limits, mark = self.limits, self._guard.mark(time.monotonic())
        self._ran.set()
        try:
            self._guard.start()
            running = await self._start(argv, message, mark)
        except OSError as error:
            return ProgramNotStarted(error.strerror or str(error))
        try:
            with running:
                return await self._attend(running, mark, limits)
        except OSError as error:
            return Broken(error.strerror or str(error))

    async def _attend(self, running: "_Running", mark: str, limits: ProgramLimits) -> ProgramResult:
        try:
            await self._waits.wait(running.end(), running_loop().time() + limits.timeout)
        except FilterTooLate:
            await self._end(running, mark)
            return TimedOut(limits.timeout)
        return running.outcome()

    async def _start(self, argv: Sequence[str | Path], message: QueueId, mark: str) -> "_Running":
        read_end, write_end = os.pipe()
        started_programs.note()
        try:
            process = await self._process(
                argv, {**environment(mark), "EMAILRELAY_ID": message}, write_end
            )
        except BaseException:
            _close(read_end)
            raise
        finally:
            _close(write_end)
        forbid_core(process.pid)
        try:
            return _Running(process, read_end, self._ends)
        except OSError:
            _close(read_end)
            kill_group(process)
            raise

    async def _process(
        self, argv: Sequence[str | Path], env: Mapping[str, str], stdout: int
    ) -> StartedProgram:
        if self._spawner.works:
            words, silent = [os.fsencode(word) for word in argv], self._stderr is not None
            with suppress(SpawnRefused):
                return await self._spawner.start(command_of(words, env, stdout, silent=silent))
        return self._popen(argv, env, stdout)

    def _popen(
        self, argv: Sequence[str | Path], env: Mapping[str, str], stdout: int
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - the administrator chose it
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=self._stderr,
            close_fds=True,
            cwd="/",
            env=env,
            start_new_session=True,
            umask=0o077,
        )

    async def _end(self, running: "_Running", mark: str) -> None:
        running.signal_group(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.grace):
                await running.ended.wait()
        running.signal_group(signal.SIGKILL)
        await asyncio.to_thread(self._guard.end_run, mark)
        with suppress(TimeoutError):
            async with asyncio.timeout(_REAPING_SECONDS):
                await running.ended.wait()

    async def _sweep(self) -> None:
        """Kill background processes of programs after their time; idle while nothing runs."""
        while True:
            await self._ran.wait()
            self._ran.clear()
            allowed = self.limits.timeout + self.limits.grace
            await asyncio.sleep(allowed)
            try:
                await asyncio.to_thread(self._guard.end_older, time.monotonic() - allowed)
            except OSError:  # no descriptor for the search, say: later, then
                self._ran.set()


class _Running:
    """One running program; the event loop watches its output and its end. A ``with`` block."""

    def __init__(self, process: StartedProgram, stdout: int, ends: ProgramEnds) -> None:
        """Take over the descriptor ``stdout``.

        Raise OSError if there is no descriptor for the pidfd.
        """
        self.ended = asyncio.Event()
        self._told: asyncio.Future[None] | None = None
        self._process, self._ends = process, ends
        self._stdout = stdout
        self._output = bytearray()
        self._trouble: OSError | None = None
        self._listening: asyncio.TimerHandle | None = None
        self._loop = running_loop()
        self._pidfd = linux.open_pidfd(process.pid)

    def __enter__(self) -> Self:
        try:
            os.set_blocking(self._stdout, False)
            self._watch()
            self._listening = self._loop.call_later(_SILENT, self._begin_to_listen)
        except OSError:
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        if self._pidfd is not None:
            self._ends.forget(self._pidfd)
            _close(self._pidfd)
        self._loop.remove_reader(self._stdout)
        _close(self._stdout)
        if self._process.poll() is None:
            kill_group(self._process)

    def _watch(self) -> None:
        """Watch for the end: by the pidfd, or without one by a thread."""
        if self._pidfd is not None:
            self._ends.watch(self._pidfd, self._note_end)
            return

        def wait() -> None:
            self._process.wait()
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._note_end)

        try:
            threading.Thread(target=wait, daemon=True).start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error

    def _begin_to_listen(self) -> None:
        """Read the output from now on: a program must not wait for room in the pipe."""
        try:
            self._loop.add_reader(self._stdout, self._listen)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Pass an error to the waiter: this runs as a callback of the loop."""
        self._trouble = error
        self._tell_end()

    def end(self) -> asyncio.Future[None]:
        """Return a future of the end, for one waiter that may give it an error."""
        self._told = self._loop.create_future()
        if self.ended.is_set():
            self._told.set_result(None)
        return self._told

    def _tell_end(self) -> None:
        self.ended.set()
        if self._told is not None and not self._told.done():
            self._told.set_result(None)

    def _listen(self) -> bool:
        """Read a pipe full of output and keep the beginning; False: there is no more now."""
        try:
            chunk = os.read(self._stdout, CAPTURED)
        except BlockingIOError:
            return False
        except OSError as error:
            self._fail(error)
            chunk = b""
        if not chunk:
            self._loop.remove_reader(self._stdout)
            return False
        self._output += chunk[: CAPTURED - len(self._output)]
        return True

    def _note_end(self) -> None:
        self._process.poll()
        self._tell_end()

    def outcome(self) -> Exited | Signalled:
        """Return the end of the program; raise OSError if its output could not be read."""
        # The last output may still be in the pipe; a child that goes on printing must not delay
        # this.
        while len(self._output) < CAPTURED and self._listen():
            pass
        if self._trouble is not None:
            raise self._trouble
        code = self._process.poll()
        if code is None:  # "ended" was set for trouble only, and that was raised
            raise OSError(errno.ECHILD, os.strerror(errno.ECHILD))
        if code < 0:
            return Signalled(-code)
        return Exited(code, bytes(self._output))

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the program's process group, if any of it is alive."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _close(descriptor: int) -> None:
    """Close a descriptor that nothing was written to, and ignore errors: it is free in any case."""
    with suppress(OSError):
        os.close(descriptor)
