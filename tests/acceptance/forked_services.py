"""Services that are forked by a process which has imported them: a tenth of the CPU of a start.

Unlike the commands they execute and import nothing. From the reading of the settings on they are
the same processes, and can be killed like them.
"""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from tests.acceptance.relay import Running, Service, until

_MODULES = {
    f"emailrelay-{name}": f"emailrelay_{name}.cli"
    for name in ("receiver", "filterd", "forwarder", "monitor", "console")
}


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *_MODULES.values()])
    return context


def _be(command: Sequence[str], log: Path, errors: Path, environment: dict[str, str]) -> None:
    """Run the service, in a process of its own."""
    os.environ.clear()
    os.environ.update(environment)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, _opened(log), _opened(errors))):
        os.dup2(descriptor, number)
        os.close(descriptor)
    program = Path(command[0]).name
    sys.argv = [program, *command[1:]]
    sys.exit(import_module(_MODULES[program]).main())


def _opened(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)


class Forked(Service):
    """A service, forked. With an environment of its own it is executed after all."""

    def begin(self) -> Running:
        """See ``Process.begin``."""
        if self.env is not None:
            return super().begin()
        command = [str(word) for word in self.command]
        process = _context().Process(
            target=_be, args=(command, self.log, self.errors, dict(os.environ))
        )
        process.start()
        born = _Born(process)
        # It has its own session a moment later, and is stopped by that.
        until(lambda: born.poll() is not None or os.getpgid(born.pid) == born.pid, "its session")
        return born


class _Born:
    """A forked process with the methods of one of ``subprocess``."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        pid = process.pid
        assert pid is not None
        self.pid = pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"{self.pid} runs on"
        return self._process.exitcode
