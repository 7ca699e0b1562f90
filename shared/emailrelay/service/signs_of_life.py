"""Signs of life: each process of a service gives them, and its main process passes them on.

They come from the event loop of each process, so a loop that is stuck gives none. The main process
tells the service manager (``WATCHDOG=1``, ``STATUS=``) and writes the status file for the monitor.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from emailrelay import process_state, runtime_dir, service_status
from emailrelay.errors import RelayError, reason_of
from emailrelay.events.event import Report
from emailrelay.events.service import MonitorTrouble, Unresponsive
from emailrelay.process_state import ProcessState
from emailrelay.service import service_manager
from emailrelay.service.shared_states import SharedStates, SignOfLife
from emailrelay.service.signals import Signals
from emailrelay.service_status import ProcessStatus, ServiceStatus

INTERVAL = 5.0
"""Seconds between two signs of life; less if the watchdog is impatient."""
LIMIT = 30.0
"""Seconds of silence after which a process counts as stuck; likewise."""


class SignsOfLife:
    """The signs of life of one service. Make it in the main process, before any other exists."""

    def __init__(
        self,
        service: str,
        *,
        processes: int,
        directory: Path | None,
        report: Report,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Without ``directory``, the runtime directory, and a service manager, nothing is done."""
        self._service, self._directory, self._report = service, directory, report
        self._main = os.getpid()
        watchdog = service_manager.watchdog_seconds(environ, self._main)
        self._watched = watchdog is not None
        self._interval = min(INTERVAL, (watchdog or INTERVAL * 4) / 4)
        self._limit = min(LIMIT, (watchdog or LIMIT * 2) / 2)
        self.wanted = directory is not None or service_manager.is_there()
        self._states = SharedStates(processes if self.wanted else 1)
        self._stuck = set[int]()
        self._words = ""
        self._trouble = ""
        self._next = 0.0
        self._ready = False

    @asynccontextmanager
    async def of_process(self, place: int, signals: Signals) -> AsyncGenerator[None]:
        """Give signs of life of this process from its readiness until the end of the block.

        A process that is its own main process passes them on, too.
        """
        beating: list[asyncio.Task[None]] = []
        if self.wanted:
            signals.on_ready(
                lambda: beating.append(asyncio.create_task(self._beat(place, signals)))
            )
        try:
            yield
        finally:
            for task in beating:
                task.cancel()

    async def _beat(self, place: int, signals: Signals) -> None:
        pid = os.getpid()
        while True:
            self._states.write(place, SignOfLife(pid, time.monotonic(), _state(signals)))
            if pid == self._main:
                self.pass_on((pid,))
            await asyncio.sleep(self._interval)

    def begin(self) -> None:
        """Note that the service is ready for work."""
        self._ready, self._next = True, 0.0

    def end(self) -> None:
        """Note that the service was told to stop."""
        self._ready, self._next = False, 0.0

    def forget(self) -> None:
        """Remove the status file at the end of the service."""
        if self._directory is not None:
            service_status.remove(self._directory, self._service, self._main)

    def pass_on(self, pids: Collection[int]) -> None:
        """Tell manager and monitor of the processes ``pids``, if it is time for that."""
        now = time.monotonic()
        if not self.wanted or now < self._next:
            return
        # A little early: a timer may be a little late.
        self._next = now + 0.9 * self._interval
        signs = map(self._states.read, range(self._states.places))
        living = [sign for sign in signs if sign is not None and sign.pid in pids]
        self._tell_manager(living, well=self._all_move(living, now))
        if self._directory is not None:
            self._write(self._directory, living, now)

    def _all_move(self, signs: list[SignOfLife], now: float) -> bool:
        """Report processes that have become stuck; return whether none is."""
        silent = {sign.pid: now - sign.at for sign in signs if now - sign.at > self._limit}
        for pid in silent.keys() - self._stuck:
            seconds = round(silent[pid], 1)
            self._report(Unresponsive(service=self._service, pid=pid, seconds=seconds))
        self._stuck = set(silent)
        return not silent

    def _tell_manager(self, signs: list[SignOfLife], *, well: bool) -> None:
        states = ["WATCHDOG=1"] if well and self._watched else []
        words = process_state.in_words([sign.state for sign in signs])
        if words and words != self._words:
            self._words = words
            states.append(f"STATUS={words}")
        if states:
            service_manager.notify(*states, waits=False)

    def _write(self, directory: Path, signs: list[SignOfLife], now: float) -> None:
        status = ServiceStatus(
            service=self._service,
            pid=self._main,
            written=now,
            limit=self._limit,
            wanted=self._states.places,
            ready=self._ready,
            processes=tuple(
                ProcessStatus(pid=sign.pid, age=round(now - sign.at, 1), state=sign.state)
                for sign in signs
            ),
        )
        try:
            runtime_dir.part_of(directory, runtime_dir.STATUS)
            service_status.write(directory, status)
        except (OSError, RelayError) as error:
            trouble = f"the state of the service cannot be written: {reason_of(error)}"
            if trouble != self._trouble:
                self._report(MonitorTrouble(reason=trouble))
            self._trouble = trouble
        else:
            self._trouble = ""


def _state(signals: Signals) -> ProcessState:
    try:
        return signals.state()
    except Exception as error:  # noqa: BLE001 -- a bug there is no sign of death
        return ProcessState(trouble=f"internal error: {type(error).__name__}: {error}")
