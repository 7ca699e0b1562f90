"""The services of one command: started, replaced when they die, stopped in order."""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import closing, suppress

from emailrelay.classic.child import GRACE, Child, Say
from emailrelay.classic.log_lines import Line, Severity
from emailrelay.classic.log_output import LogOutput
from emailrelay.classic.services import Plan, Service
from emailrelay.classic.sheet import Sheet
from emailrelay.config import ReceiverSettings
from emailrelay.errors import ConfigError
from emailrelay.listening import BACKLOG

START_LIMIT = 30.0
"""Seconds that the services have to become ready."""

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
            self._say(Line(Severity.ERROR, f"{self.name} does not end and is killed"))
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
                self._say(Line(Severity.ERROR, f"{self.name} could not be started: it {reason}"))
                return
            deaths = 1 if loop.time() - began >= _STEADY else deaths + 1
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(deaths - 1, 16))
            text = f"{self.name} {reason}; it is started again in {pause:g} s"
            self._say(Line(Severity.ERROR, text))
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
            return f"cannot be run: {error}"
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


class Supervisor:
    """All services of a plan. ``sockets`` are those that the receiver accepts on."""

    def __init__(self, plan: Plan, sockets: Sequence[socket.socket], log: LogOutput) -> None:
        self.stop = asyncio.Event()
        """Set it to end everything."""
        self._plan = plan
        self._log = log
        self._say = log.write
        self._sockets = sockets
        self._changing = asyncio.Lock()
        self._forwarding: set[asyncio.Task[int]] = set()
        self._passing = asyncio.Lock()
        """Held by a pass over the spool: however many ask for one, one child is at work."""
        self._posts = {
            service.name: Post(self._equipped(service), self._numbers(service), log)
            for service in plan.lasting
        }

    def _numbers(self, service: Service) -> list[int]:
        accepts = service.settings is ReceiverSettings
        return [opened.fileno() for opened in self._sockets] if accepts else []

    def _equipped(self, service: Service) -> Service:
        return service.also(*(f"--interface=fd#{number}" for number in self._numbers(service)))

    def follow(self, plan: Plan) -> None:
        """Have the services go by another plan, without disturbing their work.

        Raises:
            ConfigError: it needs other services than those that run; nothing has changed.

        """
        wanted = {service.name: service for service in plan.lasting}
        if differing := sorted(wanted.keys() ^ self._posts.keys()):
            names = " and ".join(differing)
            raise ConfigError([f"these options start or stop {names}, which needs a restart"])
        self._plan = plan
        for name, post in self._posts.items():
            post.sheet.use(self._equipped(wanted[name]))
            post.send(signal.SIGHUP)

    async def start(self) -> bool:
        """Start every service; tell whether all are ready."""
        keepers = [post.start() for post in self._posts.values()]
        ready = asyncio.create_task(self._ready())
        stop = asyncio.create_task(self.stop.wait())
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait((*keepers, ready, stop), timeout=START_LIMIT, return_when=first)
        stop.cancel()
        if ready.done():
            return True
        ready.cancel()
        if not any(keeper.done() for keeper in keepers) and not self.stop.is_set():
            waiting = ", ".join(
                post.name for post in self._posts.values() if not post.ready.is_set()
            )
            self._say(Line(Severity.ERROR, f"not ready after {START_LIMIT:g} s: {waiting}"))
        return False

    async def _ready(self) -> None:
        for post in self._posts.values():
            await post.ready.wait()

    async def end(self) -> None:
        """Stop the services one after the other: first what takes mail in, last what sends it."""
        self.stop.set()
        if self._forwarding:
            await asyncio.wait(self._forwarding)
        for post in self._posts.values():
            await post.stop()
            post.sheet.close()

    async def forward_once(self, also_say: Say | None = None) -> int:
        """Try every message once, after those who asked before; return the exit status of that."""
        async with self._passing:
            return await self._forward_once(also_say)

    async def _forward_once(self, also_say: Say | None) -> int:
        if self._plan.once is None:
            return 0
        if self.stop.is_set():
            return 1

        def say(line: Line) -> None:
            self._say(line)
            if also_say is not None:
                also_say(line)

        once = self._plan.once
        try:
            with closing(Sheet(once, os.environ)) as sheet:
                child = await Child.start(once.module, sheet, (), say, self._log.hand_down())
        except OSError as error:
            say(Line(Severity.ERROR, f"{once.name} could not be started: {error}"))
            return 1
        ended, stop = asyncio.create_task(child.ended()), asyncio.create_task(self.stop.wait())
        await asyncio.wait((ended, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not ended.done():
            child.send(signal.SIGTERM)
            if not (await asyncio.wait((ended,), timeout=GRACE))[0]:
                child.send(signal.SIGKILL)
        return await ended

    def forward(self) -> bool:
        """Have all that waits tried now, without waiting for it; tell whether that is possible."""
        post = self._posts.get("forwarder")
        if post is not None:
            post.send(signal.SIGUSR1)
        elif self._plan.once is not None and not self._forwarding:
            task = asyncio.create_task(self.forward_once())
            self._forwarding.add(task)
            task.add_done_callback(self._forwarding.discard)
        return self.can_forward

    @property
    def can_forward(self) -> bool:
        """Whether there is somewhere to forward to."""
        return self._plan.once is not None

    def state(self) -> dict[str, bool]:
        """Tell of each service by name whether it is wanted now."""
        return {name: post.running for name, post in self._posts.items()}

    async def take_mail(self, *, wanted: bool) -> bool:
        """Stop the receiver or start it again; tell whether there is one in the plan."""
        post = self._posts.get("receiver")
        if post is None:
            return False
        async with self._changing:
            if wanted and not post.running:
                for listening in self._sockets:
                    listening.listen(BACKLOG)
                post.start()
            elif not wanted:
                await post.stop()
                for listening in self._sockets:
                    # Clients are refused instead of left waiting; the address stays ours.
                    with suppress(OSError):
                        listening.shutdown(socket.SHUT_RDWR)
        return True


def _reason(status: int) -> str:
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
