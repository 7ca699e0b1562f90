"""``emailrelay-filterd``: settings, then the work."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from socket import socket

from emailrelay import service
from emailrelay.config import FilterdSettings, load
from emailrelay.errors import ConfigError, StoreUnusable
from emailrelay.events import FilterUnstartable, Report
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import Limits, Programs
from emailrelay.filters.spec import Filter, parse_chain, unstartable
from emailrelay.filters.verdict import Side
from emailrelay.logs import reporter
from emailrelay.service import Signals
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay_filterd import unattended
from emailrelay_filterd.worker import Worker


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service; return its exit status (sysexits.h)."""
    settings = load(FilterdSettings, argv)
    try:
        filters = parse_chain(settings.filter)
    except ConfigError as error:
        sys.stderr.writelines(f"{settings.program}: {problem}\n" for problem in error.problems)
        return os.EX_CONFIG
    report = reporter(settings)
    for program, reason in unstartable(filters).items():
        report(FilterUnstartable(filter=program, reason=reason))
    try:
        return service.run(
            settings.service,
            partial(_work, settings, filters, report),
            workers=settings.workers,
            report=report,
            dispatch=service.dispatcher(settings.store_place, Stage.UNFILTERED, report),
        )
    except StoreUnusable as error:
        sys.stderr.write(f"{settings.program}: {error}\n")
        return os.EX_CONFIG


async def _work(
    settings: FilterdSettings,
    filters: Sequence[Filter],
    report: Report,
    signals: Signals,
    hints: socket | None,
) -> int:
    async with open_store(settings.store_place, report=report) as store:
        if not filters:
            await unattended.watch(store, signals.stop, report)
            return os.EX_OK
        limits = Limits(timeout=settings.filter_timeout)
        async with (
            Programs(limits, debug=settings.debug) as programs,
            store.feed(Stage.UNFILTERED, hints=hints) as feed,
        ):
            signals.on_flush(feed.wake)
            worker = Worker(
                feed=feed,
                chain=Chain(filters=filters, side=Side.SERVER, programs=programs),
                schedule=settings.schedule,
                report=report,
                jobs=settings.filter_jobs,
            )
            await worker.run(signals.stop)
    return os.EX_OK
