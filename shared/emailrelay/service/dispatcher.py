"""The dispatcher of a pool watches one stage of a store and hands its messages to the workers."""

import asyncio
import os
from pathlib import Path

from emailrelay.events.event import Report
from emailrelay.process_state import ProcessState
from emailrelay.service.processes import Dispatch
from emailrelay.service.signals import Signals
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay.store.hint_channel import HintChannel


def dispatcher(place: str | Path, stage: Stage, report: Report) -> Dispatch:
    """Return the work of a pool's dispatcher process. A flush signal makes all messages due."""

    async def dispatch(signals: Signals, hints: HintChannel) -> int:
        woken = asyncio.Event()
        signals.on_flush(woken.set)
        async with open_store(place, report=report) as store:
            signals.state = lambda: ProcessState(waiting=store.waiting(stage))
            signals.ready()
            dispatching = asyncio.create_task(store.dispatch(stage, hints, woken))
            stopping = asyncio.create_task(signals.stop.wait())
            await asyncio.wait((dispatching, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not signals.stop.is_set():
                await dispatching
            dispatching.cancel()
            await asyncio.wait((dispatching,))
        return os.EX_OK

    return dispatch
