"""``emailrelay-forwarder``: settings, then the work."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from emailrelay import service
from emailrelay.bounces.duty import BounceDuty
from emailrelay.config import ForwarderSettings, load
from emailrelay.config.findings import CheckScope, SettingFinding
from emailrelay.descriptor_limit import ENOUGH, raise_limit
from emailrelay.errors import ConfigError
from emailrelay.events.event import Report
from emailrelay.events.filters import FilterUnstartable
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.spec import unstartable
from emailrelay.filters.verdict import Side
from emailrelay.oauth.bearer import Bearer
from emailrelay.process_state import ProcessState
from emailrelay.service import LiveSettings, Signals, Swap
from emailrelay.stage import Stage
from emailrelay.standard_streams import prepare_streams
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store, recipient_sockets
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.limits import RouteLimits
from emailrelay.terminal.error_lines import print_errors
from emailrelay_forwarder.delivery.client_filter import ClientFilters
from emailrelay_forwarder.delivery.forwarding import Forwarding
from emailrelay_forwarder.delivery.rules import Rules
from emailrelay_forwarder.failed_mail import bounce_rules, hearing
from emailrelay_forwarder.pool import flush_all
from emailrelay_forwarder.recalls import Recalls
from emailrelay_forwarder.recipient_answers import RecipientAnswers
from emailrelay_forwarder.session.opening import open_session
from emailrelay_forwarder.settings.bearers import Bearers
from emailrelay_forwarder.settings.policy_settings import check_files, sessions_of
from emailrelay_forwarder.single_pass import SinglePass
from emailrelay_forwarder.worker import ForwarderWorker
from emailrelay_forwarder.worker_control import WorkerControl

_MOST_TASKS = 500
"""Messages in hand at a time, however many routes there are."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service; return the exit status (sysexits.h); with ``--once`` 1 if mail is left."""
    prepare_streams()
    settings = load(ForwarderSettings, argv, check=_check)
    report = service.reporter(settings)
    for program, reason in unstartable(settings.client_chain).items():
        report(FilterUnstartable(filter=program, reason=reason))
    try:
        check_files(settings)
    except ConfigError as error:
        return print_errors(settings.program, *error.problems, status=os.EX_CONFIG)
    live = LiveSettings(settings, argv, report=report, check=check_files)
    raise_limit(ENOUGH)  # a connection takes one descriptor, a message in hand two
    return service.run(
        settings.service,
        partial(_once if settings.once else work, live, report),
        workers=1 if settings.once else settings.workers,
        report=report,
        runtime_dir=settings.runtime_dir,
        store=settings.store_place,
        dispatch=service.dispatcher(settings.store_place, Stage.READY, report),
        # A single pass ends as it began.
        live=None if settings.once else live,
        drain=settings.stop_grace,
    )


def _check(settings: ForwarderSettings, scope: CheckScope) -> Iterable[SettingFinding]:
    from emailrelay_forwarder.check import check  # noqa: PLC0415 -- only --check-config needs it

    return check(settings, scope)


def rules(
    settings: ForwarderSettings,
    report: Report,
    limits: Callable[[str], RouteLimits],
    bearer: Bearer,
    filters: ClientFilters | None = None,
) -> Rules:
    """Return what the settings mean for each message."""
    session_settings = sessions_of(settings, report, bearer)
    return Rules(
        routes=settings.routes,
        most=settings.connections_per_route,
        # In a single pass no other mail waits longer than its attempt.
        places=settings.connections_per_route if settings.once else _tasks(settings) // 2,
        schedule=settings.schedule,
        open_session=partial(open_session, settings=session_settings),
        limits=limits,
        policy=session_settings.policy,
        report=report,
        clock=time.time,
        filters=filters,
        partly=settings.forward_to_some,
        no_retry=settings.no_retry,
    )


def _client_filters(settings: ForwarderSettings, programs: Programs) -> ClientFilters | None:
    filters = settings.client_chain
    if not filters:
        return None
    chain = Chain(filters=filters, side=Side.CLIENT, programs=programs)
    return ClientFilters(chain, asyncio.Semaphore(settings.filter_jobs))


def _programs(settings: ForwarderSettings) -> Programs:
    return Programs(_limits(settings), domain=settings.domain, debug=settings.debug)


def _limits(settings: ForwarderSettings) -> ProgramLimits:
    return ProgramLimits(timeout=settings.filter_timeout)


def _tasks(settings: ForwarderSettings) -> int:
    """Return the most messages in hand at a time: a few more than the connections of all routes."""
    most = settings.connections_per_route
    wanted = sum(min(most, route.connections or most) for route in settings.routes.every)
    wanted = wanted or most  # without a route, filters name the servers
    return min(wanted, _MOST_TASKS) + max(4, most // 4)


async def work(
    live: LiveSettings[ForwarderSettings],
    report: Report,
    signals: Signals,
    hints: HintChannel | None,
) -> int:
    """Forward mail until the process is stopped; follow changes of the settings."""
    async with (
        _programs(live.now) as programs,
        open_store(live.now.store_place, report=report) as store,
        store.feed(Stage.READY, hints=hints) as feed,
        AsyncExitStack() as ending,
    ):
        duty = BounceDuty(store, bounce_rules(live.now), report=report)
        report = hearing(report, duty)
        await service.keep_history(store, live.now, report)
        wake = feed.wake if hints is None else flush_all(os.getppid(), feed.all_heard)
        recalls = Recalls(feed, wake)
        ending.callback(recalls.close)

        bearers = Bearers(report)
        ending.push_async_callback(bearers.close)

        def make(settings: ForwarderSettings, bearer: Bearer) -> Forwarding:
            filters = _client_filters(settings, programs)
            found = rules(settings, report, store.limits, bearer, filters)
            return Forwarding(found, recalls.make_due)

        in_force = [bearers.new(live.now)]
        worker = ForwarderWorker(
            feed=feed,
            forwarding=make(live.now, in_force[0]),
            report=report,
            tasks=_tasks(live.now),
            grace=live.now.stop_grace,
        )
        control = WorkerControl(worker, wake, live.now.poll)

        def prepare(settings: ForwarderSettings) -> Swap:
            bearer, limits = bearers.new(settings), _limits(settings)
            forwarding = make(settings, bearer)

            def swap() -> None:
                in_force[:] = [bearer]
                programs.limits, programs.domain = limits, settings.domain
                programs.pipes.renew()
                duty.follow(bounce_rules(settings))
                control.follow(forwarding, settings.poll, tasks=_tasks(settings))

            return swap

        live.on_change(prepare)

        def flush() -> None:
            control.flush()
            duty.look()

        signals.on_flush(flush)
        signals.state = lambda: _state(live.now, store, worker.forwarding, in_force[0])
        beside = [duty.run()]
        if live.now.verify_recipients:
            listen = recipient_sockets(live.now.store_place).listening
            answers = RecipientAnswers(listen, lambda: worker.forwarding.recipient_check, report)
            beside.append(answers.run(signals.ready))
        else:
            signals.ready()
        try:
            await _together(worker.run(signals.stop), *beside)
        finally:
            await control.end()
    return os.EX_OK


async def _together(
    first: Coroutine[None, None, None], *beside: Coroutine[None, None, None]
) -> None:
    """Do the first work, and other work beside it until that ends. An error of any ends all."""
    async with asyncio.TaskGroup() as group:
        others = [group.create_task(other) for other in beside]
        await first
        for other in others:
            other.cancel()


def _state(
    settings: ForwarderSettings, store: Store, forwarding: Forwarding, bearer: Bearer
) -> ProcessState:
    state, away = forwarding.state(), store.unavailable()
    known = settings.routes.every
    servers = [server for route in known for server in route.smarthosts]
    others = f" and {len(servers) - 1} more" if len(servers) > 1 else ""
    target = f"{servers[-1]}{others}" if servers else "the servers that filters name"
    return replace(
        state,
        doing=f"delivering to {target}",
        trouble=state.trouble if away is None else str(away),
        waiting=store.waiting(Stage.READY),
        routes={**{route.name: "" for route in known}, **state.routes},
        accounts=bearer.states,
    )


async def _once(
    live: LiveSettings[ForwarderSettings],
    report: Report,
    signals: Signals,
    _hints: HintChannel | None,
) -> int:
    settings = live.now
    async with (
        _programs(settings) as programs,
        open_store(settings.store_place, report=report) as store,
        AsyncExitStack() as ending,
    ):
        await service.keep_history(store, settings, report)
        bearers = Bearers(report)
        ending.push_async_callback(bearers.close)
        filters = _client_filters(settings, programs)
        found = rules(settings, report, store.limits, bearers.new(settings), filters)
        signals.ready()
        status = await once(store, found, signals.stop, grace=settings.stop_grace)
        await BounceDuty(store, bounce_rules(settings), report=report).once()
    return status


async def once(store: Store, rules: Rules, stop: asyncio.Event, *, grace: float) -> int:
    """Make one pass; return 0, or 1 when something could not be forwarded.

    ``grace``: see ``SinglePass``.
    """
    forwarding = Forwarding(rules, lambda _recall: None)
    try:
        single_pass = SinglePass(
            store=store, forwarding=forwarding, report=rules.report, most=rules.most, grace=grace
        )
        return os.EX_OK if await single_pass.run(stop) else 1
    finally:
        await forwarding.close()
