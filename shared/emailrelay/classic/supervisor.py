"""The services of one command: started, replaced when they die, stopped in order."""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import closing, suppress

from emailrelay.classic.child import GRACE, Child, Say
from emailrelay.classic.log_lines import ClassicLine, Severity
from emailrelay.classic.log_output import LogOutput
from emailrelay.classic.post import Post
from emailrelay.classic.services import Plan, Service
from emailrelay.classic.sheet import Sheet
from emailrelay.config import ReceiverSettings
from emailrelay.errors import ConfigError
from emailrelay.listening import BACKLOG

START_LIMIT = 30.0
"""Seconds without progress after which services that are not ready are given up: a loaded machine, or a
large spool, takes longer, but not without using a processor."""

LONGEST_START = 600.0
"""Seconds that the services have to become ready, whatever they do."""

_LOOK = 1.0
"""Seconds between two looks at their progress."""


class ClassicSupervisor:
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
        given_up = asyncio.create_task(self._no_progress())
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait((*keepers, ready, stop, given_up), return_when=first)
        stop.cancel()
        given_up.cancel()
        if ready.done():
            return True
        ready.cancel()
        if not any(keeper.done() for keeper in keepers) and not self.stop.is_set():
            waiting = ", ".join(
                post.name for post in self._posts.values() if not post.ready.is_set()
            )
            text = f"not ready, and no progress for {START_LIMIT:g} s: {waiting}"
            self._say(ClassicLine(Severity.ERROR, text))
        return False

    async def _no_progress(self) -> None:
        """Wait until the services have done nothing for too long."""
        loop = asyncio.get_running_loop()
        began = moved = loop.time()
        before = dict[str, int]()
        while loop.time() - moved < START_LIMIT and loop.time() - began < LONGEST_START:
            now = {p.name: p.used for p in self._posts.values() if not p.ready.is_set()}
            if now != before:
                before, moved = now, loop.time()
            await asyncio.sleep(_LOOK)

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

        def say(line: ClassicLine) -> None:
            self._say(line)
            if also_say is not None:
                also_say(line)

        once = self._plan.once
        try:
            with closing(Sheet(once, os.environ)) as sheet:
                child = await Child.start(once.module, sheet, (), say, self._log.hand_down())
        except OSError as error:
            say(ClassicLine(Severity.ERROR, f"{once.name} could not be started: {error}"))
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
