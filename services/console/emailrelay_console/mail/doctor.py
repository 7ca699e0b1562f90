"""Runs the doctor on a route of the settings, one at a time and for a bounded time."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from emailrelay.errors import RelayError, reason_of

SECONDS = 120.0
"""The most time of an examination: a silent server takes half a minute for each step."""
_LARGEST = 1024 * 1024
_COMMAND = (sys.executable, "-P", "-m", "emailrelay_forwarder.doctor", "--json")
"""A process of its own: services do not import each other, and it can be stopped at any moment."""


class DoctorBusy(RelayError):
    """Another examination is in progress."""


class ExaminedStep(NamedTuple):
    """A step of an examination."""

    name: str
    result: str
    seconds: float
    text: str
    remedy: str


class ExaminedServer(NamedTuple):
    """The steps with a server."""

    name: str
    well: bool
    steps: tuple[ExaminedStep, ...]


@dataclass(slots=True, kw_only=True)
class DoctorVisit:
    """One examination."""

    route: str
    """Empty: all routes."""
    user: str
    began: float
    """Seconds since 1970."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    servers: Sequence[ExaminedServer] = ()
    problem: str = ""
    """The reason why there is no result."""


class Doctor:
    """An ``async with`` block; its end stops an examination. The latest one is kept.

    ``store``: the options that name the store of the console, which has the tokens of accounts.
    """

    def __init__(self, clock: Callable[[], float], store: Sequence[str]) -> None:
        self._clock, self._store = clock, store
        self.latest: DoctorVisit | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the examination in progress."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def begin(self, route: str, sender: str, recipient: str, user: str) -> DoctorVisit:
        """Begin to examine the servers of a route. Empty: all routes, no sender, no recipient.

        Raises:
            DoctorBusy: another examination is in progress.

        """
        if self._task is not None and not self._task.done():
            raise DoctorBusy("another examination is in progress; wait for its end")
        # The equals sign keeps an address from being an option.
        words = [f"--from={sender}"] if sender else []
        words += [f"--to={recipient}"] if recipient else []
        words += [route] if route else []
        self.latest = visit = DoctorVisit(route=route, user=user, began=self._clock())
        self._task = asyncio.create_task(_examine(visit, [*self._store, *words]))
        return visit


async def _examine(visit: DoctorVisit, words: Sequence[str]) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            output, errors = await _run(words)
        visit.servers = _servers(output)
        if not visit.servers:
            visit.problem = errors or "there is no server to examine"
    except TimeoutError:
        visit.problem = f"it took longer than {SECONDS:g} s, and was stopped"
    except (OSError, ValueError, LookupError, TypeError) as error:
        visit.problem = f"the doctor cannot be run: {reason_of(error)}"
    finally:
        visit.over.set()


async def _run(words: Sequence[str]) -> tuple[bytes, str]:
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
        await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return output, errors.decode(errors="replace").strip()


async def _bounded(stream: asyncio.StreamReader | None) -> bytes:
    found = b""
    while stream is not None and (chunk := await stream.read(65536)):
        found += chunk[: _LARGEST - len(found)]
    return found


def _servers(output: bytes) -> tuple[ExaminedServer, ...]:
    if not output.strip():
        return ()
    return tuple(_server(each) for each in json.loads(output)["servers"])


def _server(server: Mapping[str, Any]) -> ExaminedServer:
    steps = (
        ExaminedStep(
            str(step["step"]),
            str(step["result"]),
            float(step["seconds"]),
            str(step["text"]),
            str(step["remedy"]),
        )
        for step in server["steps"]
    )
    return ExaminedServer(str(server["server"]), bool(server["ok"]), tuple(steps))
