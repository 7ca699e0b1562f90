"""One service that is kept running until it is stopped."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from emailrelay.classic.child_settings import ChildSettings
from emailrelay.classic.log_lines import ClassicLine, Severity
from emailrelay.classic.log_output import LogOutput
from emailrelay.classic.service_process import ServiceProcess
from emailrelay.classic.services import Service
from emailrelay.errors import reason_of
from emailrelay.service.child_process import cause_of_end
from emailrelay.service.restart_rule import RestartRule


class ServiceKeeper:
    """Starts a service, and starts it again when it dies, until ``stop``."""

    def __init__(self, service: Service, descriptors: Sequence[int], log: LogOutput) -> None:
        self.name = service.name
        self.settings = ChildSettings(service, os.environ)
        self.ready = asyncio.Event()
        """Set when the service has been ready once."""
        self._module = service.module
        self._descriptors = descriptors
        self._log = log
        self._unwanted = asyncio.Event()
        self._process: ServiceProcess | None = None
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Keep the service running until ``stop``; the task also ends if it is never ready."""
        self._unwanted.clear()
        self._keeping = asyncio.create_task(self._keep())
        return self._keeping

    @property
    def used(self) -> int:
        """Return the processor time, in ticks, that its process has used."""
        return 0 if self._process is None else self._process.used

    @property
    def wanted(self) -> bool:
        """Tell whether the service is to run."""
        return self._keeping is not None

    def send(self, number: signal.Signals) -> None:
        """Send the service a signal, if it runs."""
        if self._process is not None:
            self._process.send(number)

    async def stop(self) -> None:
        """End the service and wait for its end."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            self._unwanted.set()
            await keeping

    async def _keep(self) -> None:
        loop, rule = asyncio.get_running_loop(), RestartRule()
        while not self._unwanted.is_set():
            rule.start(loop.time())
            reason = await self._run()
            if self._unwanted.is_set():
                return
            if not self.ready.is_set():
                self._error(f"{self.name} could not be started: it {reason}")
                return
            pause = rule.pause_after_death(loop.time())
            self._error(f"{self.name} {reason}; it is started again in {pause:g} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._unwanted.wait()

    async def _run(self) -> str:
        """Run the service once; return why it ended."""
        try:
            self._process = await ServiceProcess.start(
                self._module,
                self.settings,
                self._descriptors,
                self._log.write,
                log=self._log.for_service(),
                ready=self.ready,
            )
        except OSError as error:
            return f"cannot be run: {reason_of(error)}"
        try:
            return cause_of_end(await self._process.run(self._unwanted))
        finally:
            self._process = None

    def _error(self, text: str) -> None:
        self._log.write(ClassicLine(Severity.ERROR, text))
