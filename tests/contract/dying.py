"""Does one thing to a spool again and again, and each time dies one system call later.

``python -m tests.contract.dying SCENARIO kill|fail DIRECTORY files|log`` makes a spool
``DIRECTORY/1`` and dies by SIGKILL (or gets an I/O error) at the first call. It makes
``DIRECTORY/2`` and dies at the second call, and so on, until a run has no further call. A run that
comes to its end leaves ``DIRECTORY/<n>.told``.
"""

import asyncio
import errno
import itertools
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from tests.contract.mail import ANN, BOB, ENVELOPE, LATER, NEVER, OK, claimed, put

from emailrelay import envelope_format
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.journal import Attempt
from emailrelay.settlement import Defer, Done, Fail, Hold, Pass, Settlement
from emailrelay.spool_sync import SpoolSync
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.store.mail_history import HistoryBounds
from emailrelay.store.spool.durable import segment

ORIGINAL, FILTERED, ADDED = b"Subject: original\r\n\r\n", b"Subject: filtered\r\n\r\n", b"added\r\n"
REROUTED = Envelope(sender=ENVELOPE.sender, to_remote=(BOB,))

REFUSAL = Pass(refused=Attempt(at=1.0, peer="milter:/m", replies={BOB: NEVER}))
QUARANTINE = replace(REFUSAL, quarantine="milter:/m: odd")

Arm: TypeAlias = Callable[[], None]
Scenario: TypeAlias = Callable[[Store, Arm], Awaitable[None]]
_CALLS = (
    *("open", "dup", "write", "pwrite", "fdatasync", "fsync", "rename", "unlink", "mkdir"),
    "close",
)
_CALLS_THAT_FAIL = _CALLS[:-1]  # Linux closes a descriptor even if it reports an error
_LONGEST = 200
_SMALL_SEGMENT = 128 * 1024
"""Octets of a log's segments here: each run lays out new ones."""
_AT_ONCE = 4
"""Runs that go on at once: each waits for the disk nearly all the time."""


async def commit(store: Store, arm: Arm) -> None:
    arm()
    await put(store, ORIGINAL, Stage.UNFILTERED)


def settle(settlement: Settlement, stage: Stage = Stage.READY, *, edit: bool = False) -> Scenario:
    async def scenario(store: Store, arm: Arm) -> None:
        message = await put(store, ORIGINAL, stage)
        async with await claimed(store, message, stage) as claim:
            if edit:
                copy = await claim.work_copy("new")
                copy.content.write_bytes(FILTERED)
                copy.envelope.write_bytes(envelope_format.write(REROUTED))
                pair = copy.content.parent / "emailrelay.1.1.1"
                pair.with_name(f"{pair.name}.content").write_bytes(ADDED)
                pair.with_name(f"{pair.name}.envelope").write_bytes(copy.envelope.read_bytes())
            arm()
            await claim.settle(settlement)

    return scenario


async def replace_in_memory(store: Store, arm: Arm) -> None:
    message = await put(store, ORIGINAL, Stage.UNFILTERED)
    async with await claimed(store, message, Stage.UNFILTERED) as claim:
        small = claim.at_hand("new")
        assert small is not None
        small.replace(REROUTED, FILTERED)
        arm()
        await claim.settle(Pass())


def partly(next_attempt: float) -> Attempt:
    return Attempt(
        at=time.time(), peer="p", replies={ANN: OK, BOB: LATER}, next_attempt=next_attempt
    )


SCENARIOS: dict[str, Scenario] = {
    "commit": commit,
    "done": settle(Done()),
    "defer": settle(Defer(partly(0.0))),
    "fail": settle(Fail(NEVER, partly(0.0))),
    "hold": settle(Hold()),
    "pass": settle(Pass(), Stage.UNFILTERED),
    "adopt": settle(Pass(), Stage.UNFILTERED, edit=True),
    "replace": replace_in_memory,
    "quarantine": settle(QUARANTINE, Stage.UNFILTERED, edit=True),
    "refuse": settle(REFUSAL, Stage.UNFILTERED),
}


def meet(step: int, act: Callable[[], None], names: tuple[str, ...]) -> None:
    """Call ``act`` before the chosen one of this process's next system calls."""
    calls = itertools.count(1)

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == step:
                act()
            return real(*args, **kwargs)

        return call

    for name in names:
        setattr(os, name, watched(getattr(os, name)))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def err() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


async def live(scenario: Scenario, spool: Path, sync: SpoolSync, arm: Arm) -> None:
    async with open_store(spool, report=lambda _: None, sync=sync) as store:
        await store.history().keep(HistoryBounds(30, 10**9))  # its calls must cost no mail, either
        try:
            await scenario(store, arm)
        except StoreError:
            return
        # By a call that is not counted: the message is done.
        with spool.with_suffix(".told").open("w"):
            pass


def main(name: str, mode: str, directory: Path, sync: SpoolSync) -> None:
    segment.SIZE = _SMALL_SEGMENT
    for first in range(1, _LONGEST, _AT_ONCE):
        steps = range(first, first + _AT_ONCE)
        children = [begin(step, name, mode, directory, sync) for step in steps]
        for child in children:
            os.waitpid(child, 0)
        met = [directory / f"{step}.met" for step in steps]
        if not all(path.exists() for path in met):
            return
        for path in met:
            path.unlink()
    raise SystemExit("the scenario does not end")


def begin(step: int, name: str, mode: str, directory: Path, sync: SpoolSync) -> int:
    """Begin a run in a process of its own, which stops at this call; return its number."""
    act, names = (die, _CALLS) if mode == "kill" else (err, _CALLS_THAT_FAIL)

    def reach() -> None:
        (directory / f"{step}.met").touch()
        act()

    child = os.fork()
    if child == 0:
        scenario, spool = SCENARIOS[name], directory / str(step)
        asyncio.run(live(scenario, spool, sync, lambda: meet(step, reach, names)))
        os._exit(0)
    return child


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), SpoolSync(sys.argv[4]))
