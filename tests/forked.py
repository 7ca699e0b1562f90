"""Services that are forked by a process which has imported them: a tenth of the CPU of a start.

Unlike the commands they execute and import nothing. From the reading of the settings on they are
the same processes, and can be killed like them.
"""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

_MODULES = {
    f"emailrelay-{name}": f"emailrelay_{name}.cli"
    for name in ("receiver", "filterd", "forwarder", "monitor", "console")
} | {"emailrelay-auth": "emailrelay.oauth.cli", "emailrelay-config": "emailrelay.configure.cli"}
_HANG = 120.0
_LONGEST_LINE = 1024 * 1024


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *_MODULES.values()])
    return context


def _be(
    command: Sequence[str],
    text: Path | None,
    out: Path,
    errors: Path,
    environment: dict[str, str],
) -> None:
    """Run the service, in a process of its own."""
    os.environ.clear()
    os.environ.update(environment)
    given = os.open(text or os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((given, _opened(out), _opened(errors))):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # The streams of the process that forks know whether they can seek in its files.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - to the end
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - to the end
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    os.setsid()
    program = Path(command[0]).name
    sys.argv = [program, *command[1:]]
    sys.exit(import_module(_MODULES[program]).main())


def _opened(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)


class Born:
    """A forked process with the methods of one of ``subprocess``."""

    def __init__(
        self,
        command: Sequence[str],
        out: Path,
        errors: Path,
        text: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Fork a service; ``text`` is its input, if it has one."""
        environment = dict(os.environ if environment is None else environment)
        self._process: ForkServerProcess = _context().Process(
            target=_be, args=(list(command), text, out, errors, environment)
        )
        self._process.start()
        pid = self._process.pid
        assert pid is not None
        self.pid = pid
        # It has its files and its own session a moment later, and is stopped by that.
        end = time.monotonic() + _HANG
        while self.poll() is None and not self._has_session():
            assert time.monotonic() < end, "it has no session"
            time.sleep(0.002)

    @property
    def sentinel(self) -> int:
        """A descriptor that can be read once the process has ended."""
        return self._process.sentinel

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"{self.pid} runs on"
        return self._process.exitcode

    def _has_session(self) -> bool:
        try:
            return os.getpgid(self.pid) == self.pid
        except ProcessLookupError:
            return False


class ForkedProcess:
    """A forked service with the methods of a process of asyncio, and its output."""

    def __init__(
        self, born: Born, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader
    ) -> None:
        self.pid = born.pid
        self.stdout, self.stderr = stdout, stderr
        self._born = born

    @property
    def returncode(self) -> int | None:
        return self._born.poll()

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for the exit status."""
        loop = asyncio.get_running_loop()
        while (status := self.returncode) is None:
            ended = asyncio.Event()
            loop.add_reader(self._born.sentinel, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self._born.sentinel)
        return status

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read the rest of the output, and wait for the end."""
        out, errors = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, errors


async def start_forked(
    program: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> ForkedProcess:
    """Fork a service, such as ``emailrelay-forwarder``."""
    with tempfile.TemporaryDirectory() as folder:
        out, errors = Path(folder, "out"), Path(folder, "errors")
        readers = [await _reader(out), await _reader(errors)]
        # No output ends before the service has it.
        held = [os.open(pipe, os.O_WRONLY) for pipe in (out, errors)]
        try:
            born = Born((program, *arguments), out, errors, environment=environment)
        finally:
            for descriptor in held:
                os.close(descriptor)
    return ForkedProcess(born, *readers)


async def _reader(pipe: Path) -> asyncio.StreamReader:
    """Make a FIFO, and read it."""
    os.mkfifo(pipe)
    reading = os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), reading)
    return reader


def run_forked(
    program: str, *arguments: str, text: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Fork a service or a command, and wait for its end."""
    with tempfile.TemporaryDirectory() as folder:
        given, out, errors = (Path(folder) / name for name in ("in", "out", "errors"))
        given.write_text(text)
        command = (program, *arguments)
        born = Born(command, out, errors, given, environment)
        try:
            status = born.wait(_HANG)
        finally:
            if born.poll() is None:
                os.kill(born.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(command, status, out.read_text(), errors.read_text())
