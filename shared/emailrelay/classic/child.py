"""One service as a child process: its start, what it says, its end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from emailrelay import linux
from emailrelay.classic import direct_log, log_lines
from emailrelay.classic.log_lines import ClassicLine
from emailrelay.classic.log_output import HandedDown
from emailrelay.classic.sheet import Sheet

GRACE = 6.0
"""Seconds to end in; a service drains within 5."""

_LINE_LIMIT = 256 * 1024
_LAST_WORDS = 1.0
"""Seconds to wait for the rest of what an ended process has said."""

Say = Callable[[ClassicLine], None]


class Child:
    """A running service. ``ready`` is set when it has said that it is."""

    def __init__(self, process: asyncio.subprocess.Process, say: Say, *, writes_file: bool) -> None:
        self.ready = asyncio.Event()
        self.pid = process.pid
        self._process = process
        self._say = say
        self._writes_file = writes_file
        self._readers = [asyncio.create_task(self._events()), asyncio.create_task(self._errors())]

    @classmethod
    async def start(
        cls,
        module: str,
        sheet: Sheet,
        descriptors: Sequence[int],
        say: Say,
        log: HandedDown | None,
    ) -> "Child":
        """Start a service that inherits ``descriptors`` and the ``log`` file.

        Raises:
            OSError: that is impossible.

        """
        inherited = (*descriptors, sheet.descriptor, *([] if log is None else [log.descriptor]))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "emailrelay.classic.tied"),
            *(str(os.getpid()), direct_log.argument(log), module, sheet.flag),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            pass_fds=inherited,
            limit=_LINE_LIMIT,
            # Control-C is for us: the services are stopped in order.
            process_group=0,
        )
        return cls(process, say, writes_file=log is not None)

    @property
    def used(self) -> int:
        """Give the processor time that the process has used, in ticks (proc(5)); 0 when it is gone."""
        return linux.processor_time(self.pid)

    async def ended(self) -> int:
        """Wait for the end; return the exit status, or the negative number of a signal."""
        status = await self._process.wait()
        _, late = await asyncio.wait(self._readers, timeout=_LAST_WORDS)
        for reader in late:
            reader.cancel()
        return status

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _events(self) -> None:
        if self._process.stdout is not None:
            async for octets in _lines(self._process.stdout):
                if b'"event":"started"' in octets:
                    self.ready.set()
                event = log_lines.of_event(octets)
                if event is not None:
                    self._say(replace(event, in_file=self._writes_file))
                elif (complaint := log_lines.of_complaint(octets)) is not None:
                    self._say(complaint)

    async def _errors(self) -> None:
        if self._process.stderr is not None:
            async for octets in _lines(self._process.stderr):
                line = log_lines.of_complaint(octets)
                if line is not None:
                    self._say(line)


def _environment() -> dict[str, str]:
    # It is this process that the service manager watches; and what the environment says of settings
    # stands on the sheet, where our options go before it.
    return {
        name: value
        for name, value in os.environ.items()
        if name != "NOTIFY_SOCKET" and not name.startswith("EMAILRELAY_")
    }


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue  # Longer than the limit: the reader has thrown it away.
        if not line:
            return
        yield line
