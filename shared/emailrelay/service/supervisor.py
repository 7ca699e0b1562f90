"""The parent of worker processes: it starts them, replaces those that die, and ends them all.

It has no event loop, no thread and no signal handler. Signals stay blocked. The parent takes them
one by one where it waits, so a signal never interrupts other code.
"""

import gc
import os
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field

from emailrelay.events.event import Report
from emailrelay.events.service import WorkerDied
from emailrelay.service.child_process import cause_of_end
from emailrelay.service.forked import GRACE, Role, start
from emailrelay.service.loop import loop_factory
from emailrelay.service.restart_rule import CRASHED, RestartRule, has_done_its_work
from emailrelay.service.signals import HEARD, READY, RELOAD, STOP

_LOOK = 1.0
"""The longest time in seconds between two looks at the children, in case a SIGCHLD is lost."""


@dataclass(slots=True)
class _Place:
    """A place for one child at a time."""

    role: Role
    rule: RestartRule = field(default_factory=RestartRule)
    pid: int = 0
    ready: bool = False
    """Whether a child has been ready for work here."""
    due: float | None = 0.0
    """When (monotonic) to start the next child; None: one runs, or none is wanted."""


@dataclass(slots=True)
class Supervisor:
    """Keep a child in every place until the work is done or a signal ends it.

    See ``processes.run``.
    """

    service: str
    roles: Sequence[Role]
    _: KW_ONLY
    report: Report
    ready: Callable[[], None]
    """Called once, when every place has had a child that was ready for work."""
    stopping: Callable[[], None]
    reload: Callable[[], bool] | None = None
    """Reads the settings again, for future children; returns True if they are good.

    Only then the children get the SIGHUP."""
    look: Callable[[Collection[int]], None] = lambda _pids: None
    """Called often, with the ids of the processes that run."""
    grace: float = GRACE
    """Seconds that children have for their drain."""
    killed: int = field(default=0, init=False)
    """The number of children that did not drain in time and were killed."""
    _places: list[_Place] = field(init=False)
    _worst: int = field(default=0, init=False)
    _deadline: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._places = [_Place(role) for role in self.roles]

    def run(self) -> int:
        """Run until all children have ended for good; return the worst exit status of a child.

        A child that returns has done its work and is not replaced. A child that a signal or an
        exception ended is replaced. After a stop, signals stay blocked: none may change the exit.
        """
        awaited = {*HEARD, signal.SIGCHLD, READY}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
        _share_memory()
        self._start_due()
        while self._unfinished():
            heard = signal.sigtimedwait(awaited, self._longest_wait())
            if heard is not None and heard.si_signo in HEARD:
                self._pass_on(signal.Signals(heard.si_signo))
            if heard is not None and heard.si_signo == READY:
                self._is_ready(heard.si_pid)
            # A child may have been ready and have ended since: its readiness counts first.
            while (heard := signal.sigtimedwait({READY}, 0)) is not None:
                self._is_ready(heard.si_pid)
            self._collect()
            self._start_due()
            self.look([place.pid for place in self._places if place.pid])
            if self._only_serving_children_run():
                self._start_late()
                self._stop()
            self._kill_late()
        if self._deadline is None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._worst

    def _unfinished(self) -> bool:
        return any(place.pid or place.due is not None for place in self._places)

    def _only_serving_children_run(self) -> bool:
        return all(
            place.role.serves or not (place.pid or place.due is not None) for place in self._places
        )

    def _longest_wait(self) -> float:
        times = [place.due for place in self._places if place.due is not None]
        if self._deadline is not None:
            times.append(self._deadline)
        now = time.monotonic()
        return max(0.0, min([_LOOK, *(when - now for when in times)]))

    def _start_due(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.due is None or place.due > now:
                continue
            place.rule.start(now)
            try:
                place.pid, place.due = start(place.role, self.grace), None
            except OSError as error:  # no room for one more process: temporary, the others go on
                reason = f"{place.role.name}: cannot be started: {error.strerror}"
                self.report(WorkerDied(service=self.service, pid=0, reason=reason))
                place.due = now + place.rule.pause_after_death(now)

    def _pass_on(self, number: signal.Signals) -> None:
        if number == RELOAD and self.reload is not None and not self.reload():
            return
        if number not in STOP:
            self._send(number)
        elif self._deadline is None:
            self.stopping()
            self._stop()

    def _is_ready(self, pid: int) -> None:
        before = self._all_ready()
        for place in self._places:
            place.ready = place.ready or place.pid == pid
        if self._all_ready() and not before and self._deadline is None:
            self.ready()

    def _start_late(self) -> None:
        """Report the start if the work began and ended before every serving child was ready."""
        worked = all(place.ready for place in self._places if not place.role.serves)
        if worked and self._deadline is None and not self._all_ready():
            self.ready()

    def _all_ready(self) -> bool:
        return all(place.ready for place in self._places)

    def _stop(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self.grace
            for place in self._places:
                place.due = None
            self._send(signal.SIGTERM)

    def _kill_late(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._send(signal.SIGKILL)
            # They end at once; the next look, within a second, is soon enough to collect them.
            self._deadline = float("inf")

    def _send(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.pid:
                with suppress(ProcessLookupError):
                    os.kill(place.pid, number)

    def _collect(self) -> None:
        for place in self._places:
            if place.pid:
                pid, wait_status = os.waitpid(place.pid, os.WNOHANG)
                if pid:
                    self._ended(place, os.waitstatus_to_exitcode(wait_status))

    def _ended(self, place: _Place, status: int) -> None:
        pid, place.pid = place.pid, 0
        stopping = self._deadline is not None
        if stopping and status == -signal.SIGTERM:
            return  # The signal came before the child had a handler for it.
        if has_done_its_work(status) or (stopping and status >= 0):
            self._worst = max(self._worst, status)
            return
        self.report(WorkerDied(service=self.service, pid=pid, reason=_reason(place.role, status)))
        if stopping:
            self.killed += 1
            self._worst = max(self._worst, 1)
        else:
            now = time.monotonic()
            place.due = now + place.rule.pause_after_death(now)


def _share_memory() -> None:
    """Load modules and tidy the memory before the forks, so that all children share its pages."""
    loop_factory()
    gc.collect()
    # A garbage collection in a child would write into each object's header and so copy its page.
    gc.freeze()


def _reason(role: Role, status: int) -> str:
    if status == CRASHED:
        return f"{role.name}: an exception ended it (see standard error)"
    return f"{role.name}: {cause_of_end(status)}"
