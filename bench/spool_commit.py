"""The cost of commits and settlements for a process, without SMTP: rate and CPU.

.venv/bin/python -m bench.spool_commit [--messages 2000] [--size 10240] [--at-once 1 20 100]
    [--sync files log] [--also TREE]

``--also`` names another checkout of this project, which is measured in turn with this one.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import Event
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.spool_sync import SpoolSync
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store

HERE = Path(__file__).resolve().parent.parent


class Cost(NamedTuple):
    """Messages a second, and milliseconds of CPU (all threads) a message."""

    rate: float
    cpu: float


def ignore(_event: Event) -> None:
    pass


async def commit(store: Store, content: bytes) -> QueueId:
    envelope = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
    async with store.draft(envelope) as draft:
        draft.write(content)
        await draft.commit(Stage.READY)
    return draft.id


async def finish(store: Store, message: QueueId) -> None:
    claim = await store.claim(Stage.READY, message)
    if claim is None:
        raise RuntimeError(f"{message} cannot be claimed")
    async with claim:
        read = sum([len(chunk) async for chunk in claim.content()])
        if read != claim.size:
            raise RuntimeError(f"{message}: {read} of {claim.size} octets")
        await claim.settle(Done())


async def share(count: int, at_once: int, act: Callable[[], Awaitable[None]]) -> Cost:
    """Do something ``count`` times, ``at_once`` tasks taking turns."""
    numbers = iter(range(count))

    async def work() -> None:
        for _ in numbers:
            await act()

    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    await asyncio.gather(*(work() for _ in range(at_once)))
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(count / wall, 1000 * spent / count)


async def measure(
    spool: Path, messages: int, size: int, at_once: int, sync: SpoolSync
) -> tuple[Cost, Cost]:
    """Commit messages, then settle them."""
    line = b"x" * 70 + b"\r\n"
    content = (line * (size // len(line) + 1))[:size]
    waiting: list[QueueId] = []
    async with open_store(spool, report=ignore, sync=sync) as store:

        async def take() -> None:
            waiting.append(await commit(store, content))

        async def give() -> None:
            await finish(store, waiting.pop())

        await share(min(messages, 50), at_once, take)  # threads, files and caches are there
        return (
            await share(messages, at_once, take),
            await share(messages, at_once, give),
        )


def one(arguments: argparse.Namespace, at_once: int) -> None:
    """Measure this checkout in this process and report it to the parent."""
    place = Path(tempfile.mkdtemp(prefix="commit-", dir=arguments.place))
    sync = SpoolSync(arguments.sync[0])
    try:
        costs = asyncio.run(
            measure(place / "spool", arguments.messages, arguments.size, at_once, sync)
        )
    finally:
        shutil.rmtree(place)
    sys.stdout.write(json.dumps(costs) + "\n")


def ask(tree: Path, sync: str, argv: list[str], at_once: int) -> tuple[Cost, Cost]:
    """Measure a checkout in a process of its own."""
    argv = [*argv, "--sync", sync]
    environment = {**os.environ, "PYTHONPATH": f"{tree / 'shared'}:{HERE}"}
    command = [sys.executable, "-m", "bench.spool_commit", *argv, "--one", str(at_once)]
    said = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    taken, given = json.loads(said.stdout)
    return Cost(*taken), Cost(*given)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.spool_commit", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--size", type=int, default=10240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 20, 100])
    parser.add_argument("--sync", nargs="+", default=["files"], choices=list(SpoolSync))
    parser.add_argument("--also", help="another checkout, measured in turn")
    parser.add_argument("--place", help="a directory on the disk to measure")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        one(arguments, arguments.one)
        return
    trees = [HERE, *([Path(arguments.also)] if arguments.also else [])]
    contestants = [(tree, sync) for tree in trees for sync in arguments.sync]
    argv = ["--messages", str(arguments.messages), "--size", str(arguments.size)]
    argv += ["--place", arguments.place] if arguments.place else []
    print(
        "| at once | checkout | sync | commits/s | CPU ms | settlements/s | CPU ms |\n"
        "|---|---|---|---|---|---|---|"
    )
    for at_once in arguments.at_once:
        costs: dict[tuple[Path, str], list[tuple[Cost, Cost]]] = {one: [] for one in contestants}
        for turn in range(arguments.rounds):
            for tree, sync in contestants[:: 1 if turn % 2 else -1]:
                costs[tree, sync].append(ask(tree, sync, argv, at_once))
        for (tree, sync), found in costs.items():
            cells = [f"{at_once} | {tree.name} | {sync}"]
            for side in (0, 1):
                rate = statistics.median(pair[side].rate for pair in found)
                cpu = statistics.median(pair[side].cpu for pair in found)
                cells.append(f"{rate:,.0f} | {cpu:.3f}")
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
