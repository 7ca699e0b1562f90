"""The command ``emailrelay-receiver``."""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from functools import partial

from emailrelay import service
from emailrelay.config import ReceiverSettings, load
from emailrelay.config.findings import CheckScope, SettingFinding
from emailrelay.descriptor_limit import raise_limit
from emailrelay.errors import ConfigError, StoreError
from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay.listening import Listeners
from emailrelay.service import LiveSettings, Signals
from emailrelay.standard_streams import prepare_streams
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.terminal.error_lines import print_errors
from emailrelay_receiver.clients.client_rules import make_client_rules
from emailrelay_receiver.context import make_context
from emailrelay_receiver.receiver import Receiver, first_is_set


def main(argv: Sequence[str] | None = None) -> int:
    """Run the receiver until it is told to stop.

    Returns 0 after a clean end, 69 (EX_UNAVAILABLE) when an address cannot be used, 78 (EX_CONFIG)
    when a file or the store that the settings name cannot, 75 (EX_TEMPFAIL) when the store cannot
    now.
    """
    prepare_streams()
    settings = load(ReceiverSettings, argv, check=_check)
    report = service.reporter(settings)
    live = LiveSettings(settings, argv, report=report, check=partial(_check_files, report=report))
    raise_limit()  # a connection takes one descriptor, a message being received two
    try:
        _check_files(settings, report=report)
    except ConfigError as error:
        return print_errors(settings.program, *error.problems, status=os.EX_CONFIG)
    return service.run_listening(
        settings,
        settings.interface,
        settings.port,
        lambda listeners, signals: _serve(live, listeners, signals, report),
        report=report,
        live=live,
        store=settings.store_fallback or settings.store_place,
        workers=settings.workers,
        runtime_dir=settings.runtime_dir,
    )


def _check_files(settings: ReceiverSettings, *, report: Report) -> None:
    """Raise ConfigError if a file that the settings name cannot be used."""
    make_client_rules(settings, report=report)


def _check(settings: ReceiverSettings, scope: CheckScope) -> Iterable[SettingFinding]:
    from emailrelay_receiver.check import check  # noqa: PLC0415 -- only --check-config needs it

    return check(settings, scope)


async def _serve(
    live: LiveSettings[ReceiverSettings], listeners: Listeners, signals: Signals, report: Report
) -> int:
    now = live.now
    async with open_store(
        now.store_place,
        report=report,
        sync=now.spool_sync,
        fallback=now.store_fallback,
        hands_over=True,
    ) as store:
        make = partial(make_context, store=store, report=report, clock=time.time)
        receiver = Receiver(make(live.now), listeners.sockets)
        live.on_change(lambda settings: partial(receiver.follow, make(settings)))
        await service.keep_history(store, now, report)
        # Programs that submit without SMTP must not slip past the filters.
        await store.set_entrance(receiver.context.stage)
        async with receiver:
            signals.state = receiver.state
            signals.ready()
            await _tell_entrance(store, receiver, signals.stop, report)
    return 0


async def _tell_entrance(
    store: Store, receiver: Receiver, stop: asyncio.Event, report: Report
) -> None:
    """Note in the store, after each reload, whether filters come first; return at ``stop``."""
    while not await first_is_set(stop, receiver.moved):
        receiver.moved.clear()
        try:
            await store.set_entrance(receiver.context.stage)
        except StoreError as error:
            report(StoreTrouble(doing="noting whether filters come first", reason=str(error)))
