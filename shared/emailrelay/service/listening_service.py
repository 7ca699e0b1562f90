"""Running a service that clients connect to."""

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from emailrelay.config import Settings
from emailrelay.events.event import Report
from emailrelay.events.service import Listening
from emailrelay.listening import CannotListen, Listeners, written
from emailrelay.service.live_settings import LiveSettings
from emailrelay.service.processes import run
from emailrelay.service.signals import Signals
from emailrelay.store.hint_channel import HintChannel
from emailrelay.terminal.error_lines import print_errors


def run_listening(
    settings: Settings,
    interfaces: Sequence[str],
    port: int,
    work: Callable[[Listeners, Signals], Awaitable[int]],
    *,
    report: Report,
    live: LiveSettings[Any],
    store: str | Path,
    workers: int = 1,
    runtime_dir: Path | None = None,
) -> int:
    """Listen on ``interfaces``, and run the service as ``run`` does.

    The sockets are bound before any other process exists, and the log names their addresses when
    the service is ready. Returns 69 (EX_UNAVAILABLE) if an address cannot be used.
    """
    listeners = Listeners()
    try:
        listeners.open(interfaces, port)
    except CannotListen as error:
        lines = str(error).splitlines()
        return print_errors(settings.program, *lines, status=os.EX_UNAVAILABLE)

    def report_addresses() -> None:
        for opened in listeners.sockets:
            report(Listening(service=settings.service, address=written(opened)))

    async def work_on_sockets(signals: Signals, _hints: HintChannel | None) -> int:
        return await work(listeners, signals)

    try:
        return run(
            settings.service,
            work_on_sockets,
            workers=workers,
            report=report,
            store=store,
            live=live,
            runtime_dir=runtime_dir,
            also_ready=report_addresses,
        )
    finally:
        listeners.close()
