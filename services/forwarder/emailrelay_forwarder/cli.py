"""``emailrelay-forwarder``: settings, then the work."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from socket import socket

from emailrelay import service
from emailrelay.config import ForwarderSettings, load
from emailrelay.errors import StoreUnusable
from emailrelay.events import Report
from emailrelay.logs import reporter
from emailrelay.service import Signals
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay_forwarder.forwarding import Forwarding, Rules
from emailrelay_forwarder.once import Once
from emailrelay_forwarder.pool import flush_all
from emailrelay_forwarder.route import parse
from emailrelay_forwarder.smtp_client import SessionSettings, open_session
from emailrelay_forwarder.worker import Worker, polling

_REPLY, _VERDICT = 300.0, 600.0  # RFC 5321 4.5.3.2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service; return its exit status: sysexits.h, and with ``--once`` 1 if mail is left."""
    settings = load(ForwarderSettings, argv)
    report = reporter(settings)
    work = _once if settings.once else _work
    try:
        return service.run(
            settings.service,
            partial(work, settings, report),
            workers=1 if settings.once else settings.workers,
            report=report,
            dispatch=service.dispatcher(settings.store_place, Stage.READY, report),
        )
    except StoreUnusable as error:
        sys.stderr.write(f"{settings.program}: {error}\n")
        return os.EX_CONFIG


def rules(settings: ForwarderSettings, report: Report) -> Rules:
    """Return what the settings mean for each message."""
    session_settings = SessionSettings(
        connect=settings.connection_timeout,
        greeting=settings.prompt_timeout,
        reply=settings.response_timeout or _REPLY,
        verdict=settings.response_timeout or _VERDICT,
        domain=settings.domain,
        local_address=settings.client_interface,
    )
    return Rules(
        forward_to=parse(settings.forward_to or ""),
        most=settings.connections_per_route,
        schedule=settings.schedule,
        open_session=partial(open_session, settings=session_settings),
        report=report,
        clock=time.time,
    )


async def _work(
    settings: ForwarderSettings, report: Report, signals: Signals, hints: socket | None
) -> int:
    async with (
        open_store(settings.store_place, report=report) as store,
        store.feed(Stage.READY, hints=hints) as feed,
    ):
        wake = feed.wake if hints is None else flush_all(os.getppid())
        forwarding = Forwarding(rules(settings, report), wake)

        def flush() -> None:
            forwarding.try_now()
            feed.wake()

        def look_again() -> None:
            # Mail of a server that is away would be turned away once more, for nothing.
            if not forwarding.paused:
                wake()

        signals.on_flush(flush)
        most = settings.connections_per_route
        worker = Worker(
            feed=feed,
            forwarding=forwarding,
            report=report,
            # Some more than one server may have, so that it cannot take all of them.
            tasks=most + max(4, most // 4),
        )
        poll = asyncio.create_task(polling(settings.poll, look_again)) if settings.poll else None
        try:
            await worker.run(signals.stop)
        finally:
            if poll is not None:
                poll.cancel()
            await forwarding.close()
    return os.EX_OK


async def _once(
    settings: ForwarderSettings, report: Report, signals: Signals, _hints: socket | None
) -> int:
    async with open_store(settings.store_place, report=report) as store:
        return await once(store, rules(settings, report), signals.stop)


async def once(store: Store, rules: Rules, stop: asyncio.Event) -> int:
    """Make one pass; return 0, or 1 when something could not be forwarded."""
    forwarding = Forwarding(rules, lambda: None)
    try:
        single_pass = Once(store=store, forwarding=forwarding, report=rules.report, most=rules.most)
        return os.EX_OK if await single_pass.run(stop) else 1
    finally:
        await forwarding.close()
