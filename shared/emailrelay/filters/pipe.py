"""Programs that stay running: each line of their input is a path, each line of output an answer.

A program has as many processes as messages are in it at the same time. A process has one message
at a time, and serves the next one if it has answered properly.
"""

import asyncio
import os
import signal
import subprocess
from collections import defaultdict
from contextlib import suppress

from emailrelay.errors import RelayError
from emailrelay.filters.guard import Guard
from emailrelay.filters.shipped.parameters import PipeFilter
from emailrelay.filters.surroundings import environment, forbid_core, kill_group
from emailrelay.filters.waits import Waits
from emailrelay.running_loop import running_loop

_LONGEST = 64 * 1024
"""The most octets of an answer."""
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 30.0
"""Seconds between two starts of a program whose processes end without an answer."""
_PATIENCE = 2.0
"""A message waits for a start that is at most as many seconds away."""
_GRACE = 1.0
"""Seconds between the end of a process's input and its SIGKILL."""


class NoPipeAnswer(RelayError):
    """The program was started but gave no answer."""


class _Idle(Exception):
    """The process ended, or wrote something, while it had no message."""


class _Process:
    """One process of a program, with a pipe to it and a pipe from it."""

    def __init__(self, one: PipeFilter, mark: str, stderr: int | None, era: int) -> None:
        """Start it; raise OSError if that is impossible."""
        self.mark, self.era = mark, era
        self.served = 0
        """The messages that it has answered."""
        self._popen = subprocess.Popen(  # noqa: S603 - the administrator chose it
            (one.path, *one.arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            close_fds=True,
            cwd="/",
            env=environment(mark),
            start_new_session=True,
            umask=0o077,
        )
        forbid_core(self._popen.pid)
        if self._popen.stdin is None or self._popen.stdout is None:
            raise RuntimeError("both pipes were asked for")
        self._pipes = self._popen.stdin, self._popen.stdout
        self._stdin, self._stdout = (pipe.fileno() for pipe in self._pipes)
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._stdout, False)
        self._said = bytearray()
        self._answer: asyncio.Future[None] | None = None
        self._listens = False
        """The loop watches its output, from the first message on: that costs nothing a message."""

    async def ask(self, line: bytes, waits: Waits, until: float) -> bytes:
        """Send a path with its LF; return the answer without its LF.

        Raises:
            FilterTooLate: it has not answered until this time of the loop's clock.
            _Idle: an earlier message's process is of no more use, and has not seen this one.
            NoPipeAnswer: it ended, or its answer is too long.

        """
        if self.served and self._stirred():
            raise _Idle
        try:
            # A path is shorter than a pipe (PATH_MAX, PIPE_BUF), so it goes whole or not at all.
            os.write(self._stdin, line)
        except BrokenPipeError as error:
            if self.served:
                raise _Idle from error
            raise NoPipeAnswer(await self._end_in_words()) from error
        except BlockingIOError as error:
            raise NoPipeAnswer("it does not read its input") from error
        loop = running_loop()
        self._answer = loop.create_future()
        if not self._listens:
            loop.add_reader(self._stdout, self._listen)
            self._listens = True
        try:
            await waits.wait(self._answer, until)
        finally:
            self._answer = None
        answer = self._taken()
        if answer is None:
            raise NoPipeAnswer(await self._end_in_words())
        return answer

    def stop_listening(self) -> None:
        """Watch its output no more, before it is closed or until the next message."""
        if self._listens:
            running_loop().remove_reader(self._stdout)
            self._listens = False

    def _stirred(self) -> bool:
        """Tell whether it has written something, or closed its output, or ended."""
        try:
            self._said += os.read(self._stdout, _LONGEST)
        except BlockingIOError:
            # A child may keep the pipes of a process that has ended.
            return bool(self._said) or self._popen.poll() is not None
        return True

    def _taken(self) -> bytes | None:
        """Take the line that it has said; None: it has ended, or closed its output."""
        end = self._said.find(b"\n")
        if end >= 0:
            line = bytes(self._said[:end])
            del self._said[: end + 1]
            self.served += 1
            return line
        if len(self._said) > _LONGEST:
            raise NoPipeAnswer("its answer is an endless line")
        return None

    def _listen(self) -> None:
        if self._answer is None or self._answer.done():
            self.stop_listening()  # ``_stirred`` reads this output before the next message
            return
        try:
            chunk = os.read(self._stdout, _LONGEST)
        except BlockingIOError:
            return
        except OSError as error:
            self._answer.set_exception(error)
            return
        self._said += chunk
        if not chunk or b"\n" in chunk or len(self._said) > _LONGEST:
            self._answer.set_result(None)

    async def _end_in_words(self) -> str:
        await asyncio.to_thread(self._wait)
        match self._popen.poll():
            case None:
                return "it closed its output"
            case code if code < 0:
                return f"it was killed by signal {-code}"
            case code:
                return f"it exited with {code}"

    def _wait(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(_GRACE)

    def end(self, guard: Guard, *, gently: bool) -> None:
        """End it and its descendants; this may take a second, so call it in a thread.

        It is not listened to any more.
        """
        to_it, from_it = self._pipes
        with suppress(OSError):
            to_it.close()
        if gently:
            self._wait()
        elif self._popen.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGTERM)
            self._wait()
        kill_group(self._popen)
        with suppress(OSError):
            from_it.close()
        with suppress(OSError):
            guard.end_run(self.mark)


class _Pool:
    """The processes of one program that wait for a message, and its pause after failures."""

    def __init__(self) -> None:
        self.idle: list[_Process] = []
        self.failures = 0
        """The failures since the last answer."""
        self.not_before = 0.0
        """The time of the next start, by the loop's clock."""

    def failed(self, now: float) -> None:
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**self.failures)
        self.failures = min(self.failures + 1, 20)
        self.not_before = now + pause

    def answered(self) -> None:
        self.failures, self.not_before = 0, 0.0


class Pipes:
    """The programs that stay running, of one process of ours."""

    def __init__(self, guard: Guard, stderr: int | None, waits: Waits) -> None:
        """``stderr`` is the standard error of the programs, as for ``Popen``."""
        self._guard, self._stderr, self._waits = guard, stderr, waits
        self._pools: defaultdict[PipeFilter, _Pool] = defaultdict(_Pool)
        self._era = 0
        self._endings: set[asyncio.Task[None]] = set()

    async def ask(self, one: PipeFilter, line: bytes, until: float) -> bytes:
        """Give a process the path of a content, with LF; return its answer without LF.

        Cancelled, it ends the process.

        Raises:
            FilterTooLate: it has not answered until this time of the loop's clock; it is ended.
            OSError: the program cannot be started.
            NoPipeAnswer: it ends instead of answering, or its answer is too long.

        """
        while True:
            idle = self._pools[one].idle
            process = idle.pop() if idle else await self._started(one, until)
            # While it waited for its start, ``renew`` may have replaced the pools.
            pool = self._pools[one]
            try:
                answer = await process.ask(line, self._waits, until)
            except _Idle:
                self._end(process, gently=True)
                continue
            except BaseException:
                # A late answer would pass for the answer to the next message.
                pool.failed(running_loop().time())
                self._end(process, gently=False)
                raise
            pool.answered()
            if process.era == self._era and process.served != one.messages:
                pool.idle.append(process)
            else:
                self._end(process, gently=True)
            return answer

    def renew(self) -> None:
        """Replace all processes, each when it has no message: files that they use may differ."""
        self._era += 1
        idle = [process for pool in self._pools.values() for process in pool.idle]
        self._pools.clear()
        for process in idle:
            self._end(process, gently=True)

    async def close(self) -> None:
        """End all processes."""
        self.renew()
        if self._endings:
            await asyncio.wait(self._endings)

    async def _started(self, one: PipeFilter, until: float) -> _Process:
        loop = asyncio.get_running_loop()
        while (pause := self._pools[one].not_before - loop.time()) > 0:
            # After its time limit, a message must not start a process that would act on it.
            if pause > _PATIENCE or self._pools[one].not_before >= until:
                raise NoPipeAnswer(f"it failed several times; its next start is in {pause:.0f} s")
            await asyncio.sleep(pause)
        try:
            self._guard.start()
            return _Process(one, self._guard.mark(), self._stderr, self._era)
        except OSError:
            self._pools[one].failed(loop.time())
            raise

    def _end(self, process: _Process, *, gently: bool) -> None:
        process.stop_listening()
        ending = asyncio.create_task(asyncio.to_thread(process.end, self._guard, gently=gently))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
