"""One service as a child process: its start, its log, its end."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from emailrelay import linux
from emailrelay.classic import direct_log, log_lines
from emailrelay.classic.child_settings import ChildSettings
from emailrelay.classic.log_lines import ClassicLine, Severity
from emailrelay.classic.log_output import InheritedLog

GRACE = 6.0
"""Seconds from SIGTERM to SIGKILL; a service drains within 5."""

_LINE_LIMIT = 256 * 1024
_REST_LIMIT = 1.0
"""Seconds to wait for the last lines of a process that has ended."""

WriteLine = Callable[[ClassicLine], None]


@dataclass(slots=True)
class ServiceProcess:
    """A running service."""

    process: asyncio.subprocess.Process
    module: str
    write: WriteLine
    """Writes to the log."""
    ready: asyncio.Event
    """Set when the service reports its start."""
    writes_file: bool
    """Whether the service writes its events to the log file itself."""
    _readers: list[asyncio.Task[None]] = field(init=False)

    def __post_init__(self) -> None:
        self._readers = [
            asyncio.create_task(self._copy(self.process.stdout, self._line)),
            asyncio.create_task(self._copy(self.process.stderr, log_lines.of_stderr_line)),
        ]

    @classmethod
    async def start(
        cls,
        module: str,
        settings: ChildSettings,
        descriptors: Sequence[int],
        write: WriteLine,
        *,
        log: InheritedLog | None,
        ready: asyncio.Event,
    ) -> "ServiceProcess":
        """Start a service that inherits ``descriptors`` and the ``log`` file.

        Raises:
            OSError: the system cannot start it.

        """
        logs = [] if log is None else [log.descriptor]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "emailrelay.classic.with_parent"),
            *(str(os.getpid()), direct_log.argument(log), module, settings.flag),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            pass_fds=(*descriptors, settings.descriptor, *logs),
            limit=_LINE_LIMIT,
            # Control-C must reach this process only, which stops the services in order.
            process_group=0,
        )
        return cls(process, module, write, ready, writes_file=log is not None)

    @property
    def used(self) -> int:
        """Return the processor time of the process, in ticks (proc(5)); 0 if it has ended."""
        return linux.processor_time(self.process.pid)

    async def run(self, stop: asyncio.Event) -> int:
        """Wait for the end, and bring it about once ``stop`` is set.

        Returns the exit status, or the negative number of a signal.
        """
        ended = asyncio.create_task(self._ended())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            self.send(signal.SIGTERM)
            done, _ = await asyncio.wait((ended,), timeout=GRACE)
            if not done:
                name = self.module.removeprefix("emailrelay_")
                self.write(ClassicLine(Severity.ERROR, f"{name} does not end and is killed"))
                self.send(signal.SIGKILL)
        return await ended

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def _ended(self) -> int:
        status = await self.process.wait()
        _, late = await asyncio.wait(self._readers, timeout=_REST_LIMIT)
        for reader in late:
            reader.cancel()
        return status

    async def _copy(
        self, stream: asyncio.StreamReader | None, read: Callable[[bytes], ClassicLine | None]
    ) -> None:
        """Write the lines of a stream to the log, up to the stream's end."""
        while stream is not None and not stream.at_eof():
            try:
                octets = await stream.readline()
            except ValueError:
                continue  # The line was longer than the limit; the reader has dropped it.
            line = read(octets)
            if line is not None:
                self.write(line)

    def _line(self, octets: bytes) -> ClassicLine | None:
        if b'"event":"started"' in octets:
            self.ready.set()
        event = log_lines.of_event(octets)
        if event is None:
            return log_lines.of_stderr_line(octets)
        return replace(event, in_file=self.writes_file)


def _environment() -> dict[str, str]:
    # The service manager watches this process, not the child. The child's settings file already
    # contains the settings of the environment, and the command line takes precedence over them.
    return {
        name: value
        for name, value in os.environ.items()
        if name != "NOTIFY_SOCKET" and not name.startswith("EMAILRELAY_")
    }
