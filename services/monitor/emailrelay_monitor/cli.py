"""``emailrelay-monitor``: settings, then the work."""

import os
from collections.abc import Sequence
from functools import partial

from emailrelay import service
from emailrelay.config import MonitorSettings, load
from emailrelay.errors import ConfigError
from emailrelay.listening import Listeners, written
from emailrelay.process_state import ProcessState
from emailrelay.service import LiveSettings, Signals
from emailrelay.standard_streams import prepare_streams
from emailrelay.store.quick_chooser import view_at
from emailrelay.terminal.error_lines import print_errors
from emailrelay_monitor.check import check, startable


def main(argv: Sequence[str] | None = None) -> int:
    """Run the monitor until it is told to stop; return its exit status (sysexits.h)."""
    prepare_streams()
    settings = load(MonitorSettings, argv, check=check)
    if problems := [finding.text for finding in startable(settings)]:
        return print_errors(settings.program, *problems, status=os.EX_CONFIG)
    report = service.reporter(settings)
    return service.run_listening(
        settings,
        settings.monitor_interface,
        settings.monitor_port,
        partial(_serve, settings),
        report=report,
        live=LiveSettings(settings, argv, report=report),
        store=settings.store_place,
    )


async def _serve(settings: MonitorSettings, listeners: Listeners, signals: Signals) -> int:
    from emailrelay_monitor.http_server import HttpServer  # noqa: PLC0415 -- needs the extra
    from emailrelay_monitor.pages import Pages  # noqa: PLC0415 -- likewise
    from emailrelay_monitor.queue_counts import QueueCounts  # noqa: PLC0415 -- beside them

    if settings.runtime_dir is None:
        raise ConfigError(["runtime_dir is not set"])
    fallback = settings.store_fallback
    counts = QueueCounts(partial(view_at, settings.store_place, fallback=fallback))
    pages = Pages(settings.runtime_dir, settings.monitored, counts)
    places = ", ".join(map(written, listeners.sockets))
    signals.state = lambda: ProcessState(doing=f"answering on {places}")
    async with HttpServer(listeners.sockets, pages.answer):
        signals.ready()
        await signals.stop.wait()
    return os.EX_OK
