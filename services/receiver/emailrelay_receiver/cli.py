"""The command ``emailrelay-receiver``."""

import os
import resource
import sys
import time
from collections.abc import Sequence
from socket import socket

from emailrelay import service
from emailrelay.config import ReceiverSettings, load
from emailrelay.errors import RelayError
from emailrelay.events import Listening, Report, StoreTrouble
from emailrelay.listening import CannotListen, Listeners, written
from emailrelay.logs import reporter
from emailrelay.service import Signals
from emailrelay.store.chooser import open_store
from emailrelay_receiver.house import make_house
from emailrelay_receiver.receiver import Receiver


def main(argv: Sequence[str] | None = None) -> int:
    """Run the receiver until it is told to stop.

    Returns 0 after a clean end, 69 (EX_UNAVAILABLE) when an address or the store cannot be used.
    """
    settings = load(ReceiverSettings, sys.argv[1:] if argv is None else argv)
    report = reporter(settings)
    _allow_many_connections()
    listeners = Listeners()
    try:
        listeners.open(settings.interface, settings.port)
    except CannotListen as error:
        print(f"{settings.program}: {error}", file=sys.stderr)  # noqa: T201 - the start failed
        return os.EX_UNAVAILABLE
    for opened in listeners.sockets:
        report(Listening(service=settings.service, address=written(opened)))

    async def work(signals: Signals, _hints: socket | None) -> int:
        return await _serve(settings, listeners, signals, report)

    try:
        return service.run(settings.service, work, workers=settings.workers, report=report)
    finally:
        listeners.close()


def _allow_many_connections() -> None:
    """Use all the descriptors that we may have: a connection takes one, a message being taken two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(
    settings: ReceiverSettings, listeners: Listeners, signals: Signals, report: Report
) -> int:
    try:
        async with open_store(settings.store_place, report=report) as store:
            house = make_house(settings, store, report=report, clock=time.time)
            # Programs that submit without SMTP must not slip past the filters.
            await store.set_entrance(house.stage)
            async with Receiver(house, listeners.sockets):
                await signals.stop.wait()
    except RelayError as error:
        report(StoreTrouble(doing="opening the store", reason=str(error)))
        return os.EX_UNAVAILABLE
    return 0
