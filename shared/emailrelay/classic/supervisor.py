"""The services of one command: started, replaced when they die, stopped in order."""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import closing, suppress

from emailrelay.classic.child_settings import ChildSettings
from emailrelay.classic.log_lines import ClassicLine, Severity
from emailrelay.classic.log_output import LogOutput
from emailrelay.classic.service_keeper import ServiceKeeper
from emailrelay.classic.service_process import ServiceProcess, WriteLine
from emailrelay.classic.services import Plan, Service
from emailrelay.config import ReceiverSettings
from emailrelay.errors import ConfigError
from emailrelay.listening import BACKLOG
from emailrelay.service.restart_rule import StartTimeLimit

START_LIMIT = 30.0
"""Seconds without progress after which the supervisor gives up services that are not ready."""

LONGEST_START = 600.0
"""Seconds that the services have to become ready, even with progress."""

_LOOK = 1.0
"""Seconds between two looks at their progress."""


class ClassicSupervisor:
    """All services of a plan. ``sockets`` are those on which the receiver accepts connections.

    ``stop`` ends everything.
    """

    def __init__(
        self, plan: Plan, sockets: Sequence[socket.socket], log: LogOutput, stop: asyncio.Event
    ) -> None:
        self.stop = stop
        self._plan = plan
        self._log = log
        self._sockets = sockets
        self._changing = asyncio.Lock()
        self._forwarding: set[asyncio.Task[int]] = set()
        self._passing = asyncio.Lock()
        """Held during a pass over the spool: however many ask for one, one child works."""
        self._keepers = {
            service.name: ServiceKeeper(self._equipped(service), self._numbers(service), log)
            for service in plan.long_running
        }

    def _numbers(self, service: Service) -> list[int]:
        accepts = service.settings is ReceiverSettings
        return [opened.fileno() for opened in self._sockets] if accepts else []

    def _equipped(self, service: Service) -> Service:
        return service.also(*(f"--interface=fd#{number}" for number in self._numbers(service)))

    def follow(self, plan: Plan) -> None:
        """Give the services the settings of another plan, without disturbing their work.

        Raises:
            ConfigError: it needs other services than those that run; nothing has changed.

        """
        wanted = {service.name: service for service in plan.long_running}
        if differing := sorted(wanted.keys() ^ self._keepers.keys()):
            names = " and ".join(differing)
            raise ConfigError([f"these options start or stop {names}, which needs a restart"])
        self._plan = plan
        for name, keeper in self._keepers.items():
            keeper.settings.use(self._equipped(wanted[name]))
            keeper.send(signal.SIGHUP)

    async def start(self) -> bool:
        """Start every service; return True when all are ready."""
        keeping = [keeper.start() for keeper in self._keepers.values()]
        ready = asyncio.create_task(self._ready())
        stop = asyncio.create_task(self.stop.wait())
        given_up = asyncio.create_task(self._no_progress())
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait((*keeping, ready, stop, given_up), return_when=first)
        stop.cancel()
        given_up.cancel()
        if ready.done():
            return True
        ready.cancel()
        if not any(task.done() for task in keeping) and not self.stop.is_set():
            waiting = ", ".join(keeper.name for keeper in self._not_ready())
            text = f"not ready, and no progress for {START_LIMIT:g} s: {waiting}"
            self._log.write(ClassicLine(Severity.ERROR, text))
        return False

    def _not_ready(self) -> list[ServiceKeeper]:
        return [keeper for keeper in self._keepers.values() if not keeper.ready.is_set()]

    async def _no_progress(self) -> None:
        """Wait until the services have made no progress for too long."""
        clock = asyncio.get_running_loop().time
        limit = StartTimeLimit(clock(), without_progress=START_LIMIT, in_all=LONGEST_START)
        while True:
            used = {keeper.name: keeper.used for keeper in self._not_ready()}
            if limit.is_over(used, clock()):
                return
            await asyncio.sleep(_LOOK)

    async def _ready(self) -> None:
        for keeper in self._keepers.values():
            await keeper.ready.wait()

    async def end(self) -> None:
        """Stop the services one after the other: first the receiver, last the forwarder."""
        self.stop.set()
        if self._forwarding:
            await asyncio.wait(self._forwarding)
        for keeper in self._keepers.values():
            await keeper.stop()
            keeper.settings.close()

    async def forward_once(self, also_write: WriteLine | None = None) -> int:
        """Try every message once, after all earlier requests; return the exit status."""
        async with self._passing:
            return await self._forward_once(also_write)

    async def _forward_once(self, also_write: WriteLine | None) -> int:
        once = self._plan.once
        if once is None:
            return 0
        if self.stop.is_set():
            return 1

        def write(line: ClassicLine) -> None:
            self._log.write(line)
            if also_write is not None:
                also_write(line)

        try:
            with closing(ChildSettings(once, os.environ)) as settings:
                log, ready = self._log.for_service(), asyncio.Event()
                process = await ServiceProcess.start(
                    once.module, settings, (), write, log=log, ready=ready
                )
        except OSError as error:
            write(ClassicLine(Severity.ERROR, f"{once.name} could not be started: {error}"))
            return 1
        return await process.run(self.stop)

    def forward(self) -> bool:
        """Begin to try all waiting mail now; return False if there is nowhere to forward to."""
        keeper = self._keepers.get("forwarder")
        if keeper is not None:
            keeper.send(signal.SIGUSR1)
        elif self._plan.once is not None and not self._forwarding:
            task = asyncio.create_task(self.forward_once())
            self._forwarding.add(task)
            task.add_done_callback(self._forwarding.discard)
        return self.can_forward

    @property
    def can_forward(self) -> bool:
        """Tell whether there is somewhere to forward to."""
        return self._plan.once is not None

    def state(self) -> dict[str, bool]:
        """Return, by the name of each service, whether it is to run now."""
        return {name: keeper.wanted for name, keeper in self._keepers.items()}

    async def take_mail(self, *, wanted: bool) -> bool:
        """Stop the receiver or start it again; return False if the plan has none."""
        keeper = self._keepers.get("receiver")
        if keeper is None:
            return False
        async with self._changing:
            if wanted and not keeper.wanted:
                for listening in self._sockets:
                    listening.listen(BACKLOG)
                keeper.start()
            elif not wanted:
                await keeper.stop()
                for listening in self._sockets:
                    # The system refuses clients; otherwise they would wait. The address stays ours.
                    with suppress(OSError):
                        listening.shutdown(socket.SHUT_RDWR)
        return True
