"""A service that only logs its life: ``little_service.py WORKERS BEHAVIOUR``."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from emailrelay.errors import StoreUnusable
from emailrelay.events.event import Event
from emailrelay.process_state import ProcessState
from emailrelay.queue_id import QueueId
from emailrelay.service import Signals, run
from emailrelay.store.hint_channel import Hint, HintChannel


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def report(event: Event) -> None:
    values = (getattr(event, name) for name in event.fields)
    say(event.name, *values)


async def patient(signals: Signals, hints: HintChannel | None) -> int:
    """Work until the stop, then finish the work under way."""
    signals.on_flush(lambda: say("flush", os.getpid()))
    signals.on_reload(lambda: say("reload", os.getpid()))
    signals.ready()
    say("working", os.getpid())
    reading = asyncio.create_task(say_hints(hints))
    await signals.stop.wait()
    reading.cancel()
    say("draining", os.getpid())
    await asyncio.sleep(0.1)
    say("drained", os.getpid())
    return 0


async def say_hints(hints: HintChannel | None) -> None:
    while hints is not None:
        say("hint", (await hints.receive()).message)


async def sticking(signals: Signals, _hints: HintChannel | None) -> int:
    """Block the event loop for ever at a flush signal."""
    signals.on_flush(lambda: time.sleep(3600))
    signals.state = lambda: ProcessState(doing="working hard", sessions=1)
    signals.ready()
    say("working", os.getpid())
    await signals.stop.wait()
    return 0


async def stubborn(signals: Signals, _hints: HintChannel | None) -> int:
    """Ignore the stop signal."""
    signals.ready()
    say("working", os.getpid())
    await asyncio.Event().wait()
    return 0


async def failing(_signals: Signals, _hints: HintChannel | None) -> int:
    say("working", os.getpid(), time.monotonic())
    raise RuntimeError("the worker's own fault")


async def unusable(_signals: Signals, _hints: HintChannel | None) -> int:
    raise StoreUnusable("no such store")


async def finishing(signals: Signals, _hints: HintChannel | None) -> int:
    """End at once, with an exit status that reports a problem."""
    signals.ready()
    return 3


async def dispatch(signals: Signals, out: HintChannel) -> int:
    """Hint once, and once more at each flush."""

    flushed = asyncio.Event()
    signals.on_flush(flushed.set)
    signals.ready()
    await out.send([Hint(QueueId("started"))])
    stopping = asyncio.create_task(signals.stop.wait())
    await asyncio.wait(
        (stopping, asyncio.create_task(flushed.wait())), return_when=asyncio.FIRST_COMPLETED
    )
    if flushed.is_set():
        await out.send([Hint(QueueId("flushed"))])
    await stopping
    return 0


if __name__ == "__main__":
    works = {
        work.__name__: work for work in (patient, sticking, stubborn, failing, unusable, finishing)
    }
    status = run(
        "little",
        works[sys.argv[2]],
        workers=int(sys.argv[1]),
        report=report,
        store="memory:",
        runtime_dir=Path(os.environ["RUNTIME"]) if "RUNTIME" in os.environ else None,
        dispatch=dispatch if "dispatch" in sys.argv else None,
    )
    # A second signal may come as late as this.
    os.kill(os.getpid(), signal.SIGTERM)
    sys.exit(status)
