"""Running a service: alone in this process, or as workers under a supervisor."""

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from emailrelay import spool_owner
from emailrelay.config import version
from emailrelay.errors import RelayError
from emailrelay.events.event import Report
from emailrelay.events.service import Started, Stopped, Stopping
from emailrelay.linux import keep_freed_memory
from emailrelay.service import service_manager
from emailrelay.service.forked import GRACE, Role
from emailrelay.service.live_settings import LiveSettings
from emailrelay.service.loop import run_in_loop
from emailrelay.service.signals import HEARD, Signals
from emailrelay.service.signs_of_life import SignsOfLife
from emailrelay.service.supervisor import Supervisor
from emailrelay.store.chooser import spool_at
from emailrelay.store.hint_channel import HintChannel
from emailrelay.terminal.error_lines import print_errors

_UMASK = 0o007
"""Files of the services are for owner and group, without a further system call for their mode."""

_END_OF_WORK = 1.5
"""Seconds for the end of the work, after the drain."""

Work: TypeAlias = Callable[[Signals, HintChannel | None], Awaitable[int]]
"""The work of one worker, until ``signals.stop`` or its own end; returns an exit status.

It calls ``signals.ready`` when everything that it needs is open, or raises RelayError if it cannot.
With a dispatcher, all workers read their hints from the channel.
"""

Dispatch: TypeAlias = Callable[[Signals, HintChannel], Awaitable[int]]
"""The work of the dispatcher: sends hints into the channel."""


def run(
    service: str,
    work: Work,
    *,
    workers: int,
    report: Report,
    store: str | Path,
    dispatch: Dispatch | None = None,
    live: LiveSettings[Any] | None = None,
    drain: float = 0.0,
    runtime_dir: Path | None = None,
    also_ready: Callable[[], None] | None = None,
) -> int:
    """Run a service until a signal stops it or its work is done; return the exit status.

    When all its processes are ready, it calls ``also_ready`` and then reports the start to the log
    and the service manager.

    Call it before any thread, event loop or lock exists: with several workers this process forks
    and only supervises. Bind listening sockets before; every worker inherits them. With one worker
    there is no dispatcher and no second process. After a stop signal the process ignores further
    ones, so call this last. SIGHUP reads ``live`` settings again. Root becomes the owner of the
    spool at ``store``. ``drain``: seconds that the work may wait for others after a stop signal.
    ``runtime_dir``: see ``MonitorOptions``.
    """
    spool = spool_at(store)
    try:
        if spool is not None:
            spool_owner.become(spool)
    except RelayError as error:
        return print_errors(f"emailrelay-{service}", *str(error).splitlines(), status=os.EX_CONFIG)
    os.umask(_UMASK)
    keep_freed_memory()
    # The receiver of our readiness may send a stop at once. It waits until there are handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)

    life = SignsOfLife(
        service,
        processes=workers + (dispatch is not None and workers > 1),
        directory=runtime_dir,
        report=report,
    )

    def ready() -> None:
        if also_ready is not None:
            also_ready()
        report(Started(service=service, version=version(), workers=workers))
        life.begin()
        service_manager.notify("READY=1")

    def stopping() -> None:
        life.end()
        service_manager.notify("STOPPING=1")
        report(Stopping(service=service))

    unfinished = 0
    if workers == 1:
        alone = _living(_reloading(work, live.reload if live else None), life, 0)
        try:
            status = run_in_loop(lambda signals: alone(signals, None), stopping, ready)
        except RelayError as error:
            status = os.EX_TEMPFAIL if error.temporary else os.EX_CONFIG
            print_errors(f"emailrelay-{service}", *str(error).splitlines())
    else:
        with ExitStack() as stack:
            led = _reloading(work, live.follow if live else None)
            roles = _roles(led, workers, dispatch, life, stack)
            supervisor = Supervisor(
                service,
                roles,
                report=report,
                ready=ready,
                stopping=stopping,
                reload=live.reload if live else None,
                look=life.pass_on,
                grace=max(GRACE, drain + _END_OF_WORK),
            )
            status = supervisor.run()
            unfinished = supervisor.killed
    life.forget()
    report(Stopped(service=service, unfinished=unfinished))
    return status


def _reloading(work: Work, reload: Callable[[], object] | None) -> Work:
    """Let SIGHUP reload the settings before the work handles it."""

    def reloading(signals: Signals, hints: HintChannel | None) -> Awaitable[int]:
        if reload is not None:
            signals.on_reload(reload)
        return work(signals, hints)

    return reloading


def _living(work: Work, life: SignsOfLife, place: int) -> Work:
    """Let the process in this place give signs of life."""

    async def living(signals: Signals, hints: HintChannel | None) -> int:
        async with life.of_process(place, signals):
            return await work(signals, hints)

    return living


def _with_hints(
    work: Work, channel: HintChannel | None, place: int, signals: Signals
) -> Awaitable[int]:
    if channel is not None and place:
        channel.stand_by()
    return work(signals, channel)


def _roles(
    work: Work, workers: int, dispatch: Dispatch | None, life: SignsOfLife, stack: ExitStack
) -> list[Role]:
    channel: HintChannel | None = None
    if dispatch is not None:
        # This process keeps the channel open for workers and dispatchers that it starts later.
        channel = HintChannel()
        stack.callback(channel.close)
    living = [_living(work, life, place) for place in range(workers)]
    roles = [
        Role("worker", partial(_with_hints, one, channel, place))
        for place, one in enumerate(living)
    ]
    if dispatch is None or channel is None:
        return roles
    given = channel

    async def dispatching(signals: Signals) -> int:
        async with life.of_process(workers, signals):
            return await dispatch(signals, given)

    return [*roles, Role("dispatcher", dispatching, serves=True)]
