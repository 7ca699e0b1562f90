"""``emailrelay-filterd``: settings, then the work."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from functools import partial

from emailrelay import service
from emailrelay.config import FilterdSettings, load
from emailrelay.config.findings import CheckScope, SettingFinding
from emailrelay.events.event import Report
from emailrelay.events.filters import FilterUnstartable
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.spec import unstartable
from emailrelay.filters.verdict import Side
from emailrelay.process_state import ProcessState
from emailrelay.service import LiveSettings, Signals, Swap
from emailrelay.stage import Stage
from emailrelay.standard_streams import prepare_streams
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.store.hint_channel import HintChannel
from emailrelay_filterd import missing_filters
from emailrelay_filterd.worker import FilterWorker


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service; return its exit status (sysexits.h)."""
    prepare_streams()
    settings = load(FilterdSettings, argv, check=_check)
    report = service.reporter(settings)
    live = LiveSettings(settings, argv, report=report)
    _warn(settings, report)
    return service.run(
        settings.service,
        partial(_work, live, report),
        workers=settings.workers,
        store=settings.store_place,
        report=report,
        runtime_dir=settings.runtime_dir,
        dispatch=service.dispatcher(settings.store_place, Stage.UNFILTERED, report),
        live=live,
    )


def _check(settings: FilterdSettings, scope: CheckScope) -> Iterable[SettingFinding]:
    from emailrelay_filterd.check import check  # noqa: PLC0415 -- only --check-config needs it

    return check(settings, scope)


def _warn(settings: FilterdSettings, report: Report) -> None:
    for program, reason in unstartable(settings.chain).items():
        report(FilterUnstartable(filter=program, reason=reason))


async def _work(
    live: LiveSettings[FilterdSettings], report: Report, signals: Signals, hints: HintChannel | None
) -> int:
    async with (
        open_store(live.now.store_place, report=report) as store,
        Programs(_limits(live.now), domain=live.now.domain, debug=live.now.debug) as programs,
        store.feed(Stage.UNFILTERED, hints=hints) as feed,
    ):
        await service.keep_history(store, live.now, report)
        signals.on_flush(feed.wake)
        worker = FilterWorker(
            feed=feed,
            chain=_chain(live.now, programs),
            schedule=live.now.schedule,
            report=report,
            jobs=live.now.filter_jobs,
        )

        def prepare(settings: FilterdSettings) -> Swap:
            chain, limits = _chain(settings, programs), _limits(settings)

            def swap() -> None:
                programs.limits, programs.domain = limits, settings.domain
                programs.pipes.renew()
                worker.follow(chain, settings.schedule)

            return swap

        live.on_change(prepare)
        signals.state = lambda: _state(store, worker)
        signals.ready()
        async with asyncio.TaskGroup() as group:
            group.create_task(
                missing_filters.watch(store, signals.stop, report, lambda: not worker.chain.filters)
            )
            await worker.run(signals.stop)
    return os.EX_OK


def _state(store: Store, worker: FilterWorker) -> ProcessState:
    filters, waiting = worker.chain.filters, store.waiting(Stage.UNFILTERED)
    problems = [f"filter {program}: {why}" for program, why in unstartable(filters).items()]
    if waiting and not filters:
        problems.append("mail waits for a filter, and none is configured")
    if (away := store.unavailable()) is not None:
        problems.insert(0, str(away))
    doing = f"running {len(filters)} filter{'' if len(filters) == 1 else 's'}"
    return ProcessState(doing=doing, trouble="; ".join(problems), waiting=waiting)


def _chain(settings: FilterdSettings, programs: Programs) -> Chain:
    return Chain(filters=settings.chain, side=Side.SERVER, programs=programs)


def _limits(settings: FilterdSettings) -> ProgramLimits:
    return ProgramLimits(timeout=settings.filter_timeout)
