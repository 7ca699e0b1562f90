"""The parent of worker processes: starts them, replaces those that die, ends them all.

It has no event loop, no thread and no signal handler: signals stay blocked and are taken one by one
where it waits, so none comes between two lines.
"""

import gc
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from emailrelay.events import Report, WorkerDied
from emailrelay.service.child import CRASHED, GRACE, Role, start
from emailrelay.service.loop import loop_factory
from emailrelay.service.signals import HEARD, READY, RELOAD, STOP

_STEADY = 10.0
"""A child that lived so long (seconds) did not die of its start."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
"""Seconds before a child is replaced: after one death, and at most."""

_LOOK = 1.0
"""Longest time (seconds) between two looks at the children, should a SIGCHLD go astray."""


class _Post:
    """A place for one child: who holds it, and how its holders have fared."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.pid = 0
        self.ready = False
        """Whether a holder has been ready for work."""
        self.started = 0.0
        self.deaths = 0
        self.due: float | None = 0.0
        """When (monotonic) to start the next holder; None: there is one, or none is wanted."""

    def pause(self, now: float) -> float:
        """Return how long to wait after a death; deaths soon after the start make it longer."""
        self.deaths = 1 if now - self.started >= _STEADY else self.deaths + 1
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.deaths - 1, 16))


class Supervisor:
    """Keeps every post held until the work is done or a signal ends it. See ``processes.run``."""

    def __init__(
        self,
        service: str,
        roles: Sequence[Role],
        *,
        report: Report,
        ready: Callable[[], None],
        stopping: Callable[[], None],
        reload: Callable[[], bool] | None = None,
        grace: float = GRACE,
    ) -> None:
        """``ready`` is called once, when every post has had a holder that was ready for work.

        ``reload`` reads files again, for children to come; SIGHUP is passed on if all was well.
        ``grace``: seconds that children have for their drain.
        """
        self.killed = 0
        """How many children did not drain in time and were killed."""
        self._service = service
        self._report = report
        self._ready = ready
        self._stopping = stopping
        self._reload = reload
        self._grace = grace
        self._posts = [_Post(role) for role in roles]
        self._worst = 0
        self._deadline: float | None = None

    def run(self) -> int:
        """Return the worst exit status of a child, when all have ended for good.

        A child that returns has done its work and is not replaced; one that a signal or an exception
        ended is. Leaves signals blocked if it had to stop children, so that none spoils the exit.
        """
        awaited = {*HEARD, signal.SIGCHLD, READY}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
        _share_memory()
        self._start_due()
        while self._unfinished():
            heard = signal.sigtimedwait(awaited, self._patience())
            if heard is not None and heard.si_signo in HEARD:
                self._pass_on(signal.Signals(heard.si_signo))
            if heard is not None and heard.si_signo == READY:
                self._is_ready(heard.si_pid)
            # The word of one who has ended goes before its end.
            while (word := signal.sigtimedwait({READY}, 0)) is not None:
                self._is_ready(word.si_pid)
            self._collect()
            self._start_due()
            if self._only_servants():
                self._start_late()
                self._stop()
            self._kill_late()
        if self._deadline is None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._worst

    def _unfinished(self) -> bool:
        return any(post.pid or post.due is not None for post in self._posts)

    def _only_servants(self) -> bool:
        return all(
            post.role.serves or not (post.pid or post.due is not None) for post in self._posts
        )

    def _patience(self) -> float:
        times = [post.due for post in self._posts if post.due is not None]
        if self._deadline is not None:
            times.append(self._deadline)
        now = time.monotonic()
        return max(0.0, min([_LOOK, *(when - now for when in times)]))

    def _start_due(self) -> None:
        now = time.monotonic()
        for post in self._posts:
            if post.due is None or post.due > now:
                continue
            try:
                post.pid, post.due = start(post.role, self._grace), None
            except OSError as error:  # no room for one more process: that passes, the others go on
                reason = f"{post.role.name}: cannot be started: {error.strerror}"
                self._report(WorkerDied(service=self._service, pid=0, reason=reason))
                post.due = now + post.pause(now)
            post.started = now

    def _pass_on(self, number: signal.Signals) -> None:
        if number == RELOAD and self._reload is not None and not self._reload():
            return
        if number not in STOP:
            self._send(number)
        elif self._deadline is None:
            self._stopping()
            self._stop()

    def _is_ready(self, pid: int) -> None:
        before = all(post.ready for post in self._posts)
        for post in self._posts:
            post.ready = post.ready or post.pid == pid
        if all(post.ready for post in self._posts) and not before and self._deadline is None:
            self._ready()

    def _start_late(self) -> None:
        """Count the service as started if its work has begun and ended before its servants were ready."""
        worked = all(post.ready for post in self._posts if not post.role.serves)
        if worked and self._deadline is None and not all(post.ready for post in self._posts):
            self._ready()

    def _stop(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace
            for post in self._posts:
                post.due = None
            self._send(signal.SIGTERM)

    def _kill_late(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._send(signal.SIGKILL)
            # They end at once now; the next look in a second is soon enough to see it.
            self._deadline = float("inf")

    def _send(self, number: signal.Signals) -> None:
        for post in self._posts:
            if post.pid:
                with suppress(ProcessLookupError):
                    os.kill(post.pid, number)

    def _collect(self) -> None:
        for post in self._posts:
            if post.pid:
                pid, wait_status = os.waitpid(post.pid, os.WNOHANG)
                if pid:
                    self._ended(post, os.waitstatus_to_exitcode(wait_status))

    def _ended(self, post: _Post, status: int) -> None:
        pid, post.pid = post.pid, 0
        stopping = self._deadline is not None
        if stopping and status == -signal.SIGTERM:
            return  # It was told before it had begun to listen.
        if status >= 0 and (stopping or status != CRASHED):
            self._worst = max(self._worst, status)
            return
        self._report(WorkerDied(service=self._service, pid=pid, reason=_reason(post.role, status)))
        if stopping:
            self.killed += 1
            self._worst = max(self._worst, 1)
        else:
            now = time.monotonic()
            post.due = now + post.pause(now)


def _share_memory() -> None:
    """Have children share what is loaded before they are forked, instead of each loading its own."""
    loop_factory()
    gc.collect()
    # A collection in a child would write into every object's header and so copy its page.
    gc.freeze()


def _reason(role: Role, status: int) -> str:
    if status == CRASHED:
        return f"{role.name}: an exception ended it (see standard error)"
    return f"{role.name}: ended by {signal.Signals(-status).name}"
