"""One service that is to run until it is not wanted any more."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from emailrelay.classic.child import GRACE, Child
from emailrelay.classic.log_lines import ClassicLine, Severity
from emailrelay.classic.log_output import LogOutput
from emailrelay.classic.services import Service
from emailrelay.classic.sheet import Sheet
from emailrelay.errors import reason_of

_STEADY = 10.0
"""A service that ran for so long (seconds) did not die of its start."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
"""Seconds before a service is started again: after one death, and at most."""


class Post:
    """A service that is to run until it is not wanted any more."""

    def __init__(self, service: Service, descriptors: Sequence[int], log: LogOutput) -> None:
        self.name = service.name
        self.sheet = Sheet(service, os.environ)
        self.ready = asyncio.Event()
        """Set when the service has been ready once."""
        self._module = service.module
        self._descriptors = descriptors
        self._log = log
        self._say = log.write
        self._unwanted = asyncio.Event()
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Keep the service running; the task ends when it is stopped, or could not be started at all."""
        self._unwanted.clear()
        self._keeper = asyncio.create_task(self._keep())
        return self._keeper

    @property
    def used(self) -> int:
        """Give the processor time, in ticks, that its process has used since it was started."""
        return 0 if self._child is None else self._child.used

    @property
    def running(self) -> bool:
        """Whether it is wanted."""
        return self._keeper is not None

    def send(self, number: signal.Signals) -> None:
        """Pass a signal on."""
        if self._child is not None:
            self._child.send(number)

    async def stop(self) -> None:
        """End the service and wait for its end."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        self._unwanted.set()
        self.send(signal.SIGTERM)
        done, _ = await asyncio.wait((keeper,), timeout=GRACE)
        if not done:
            self._say(ClassicLine(Severity.ERROR, f"{self.name} does not end and is killed"))
            self.send(signal.SIGKILL)
            await keeper

    async def _keep(self) -> None:
        loop, deaths = asyncio.get_running_loop(), 0
        while not self._unwanted.is_set():
            began = loop.time()
            reason = await self._run()
            if self._unwanted.is_set():
                return
            if not self.ready.is_set():
                self._say(
                    ClassicLine(Severity.ERROR, f"{self.name} could not be started: it {reason}")
                )
                return
            deaths = 1 if loop.time() - began >= _STEADY else deaths + 1
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(deaths - 1, 16))
            text = f"{self.name} {reason}; it is started again in {pause:g} s"
            self._say(ClassicLine(Severity.ERROR, text))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._unwanted.wait()

    async def _run(self) -> str:
        """Run the service once; return why it ended."""
        try:
            child = self._child = await Child.start(
                self._module, self.sheet, self._descriptors, self._say, self._log.hand_down()
            )
        except OSError as error:
            return f"cannot be run: {reason_of(error)}"
        if self._unwanted.is_set():
            child.send(signal.SIGTERM)
        watch = asyncio.create_task(self._watch(child))
        try:
            return _reason(await child.ended())
        finally:
            self._child = None
            watch.cancel()

    async def _watch(self, child: Child) -> None:
        await child.ready.wait()
        self.ready.set()


def _reason(status: int) -> str:
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
