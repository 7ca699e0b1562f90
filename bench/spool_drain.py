"""The rate at which one forwarder process drains a spool to smtp-sink, in a single pass.

.venv/bin/python -m bench.spool_drain [--messages 3000] [--size 10240] [--rounds 3] [--also TREE]

``--also`` names another checkout of this project, which is measured in turn with this one.
"""

import argparse
import asyncio
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import Event
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store

HERE = Path(__file__).resolve().parent.parent
_AT_ONCE = 50


def ignore(_event: Event) -> None:
    pass


async def fill(spool: Path, messages: int, size: int) -> None:
    line = b"x" * 70 + b"\r\n"
    content = (line * (size // len(line) + 1))[:size]
    async with open_store(spool, report=ignore) as store:
        numbers = iter(range(messages))
        await asyncio.gather(*(put(store, content, numbers) for _ in range(_AT_ONCE)))


async def put(store: Store, content: bytes, numbers: Iterator[int]) -> None:
    for _ in numbers:
        envelope = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
        async with store.draft(envelope) as draft:
            draft.write(content)
            await draft.commit(Stage.READY)


def drain(tree: Path, spool: Path, port: int) -> tuple[float, float]:
    """Run a single pass; give its seconds and its CPU seconds, Python's start in both."""
    services = tree / "services"
    paths = [tree / "shared", *(services / name for name in ("receiver", "filterd", "forwarder"))]
    environment = {**os.environ, "PYTHONPATH": ":".join(map(str, paths))}
    command = [sys.executable, "-m", "emailrelay_forwarder", "--once", "--spool-dir", str(spool)]
    command += ["--forward-to", f"127.0.0.1:{port}", "--log-format", "json"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(arguments: argparse.Namespace, port: int) -> None:
    trees = [HERE, *([Path(arguments.also)] if arguments.also else [])]
    rates: dict[Path, list[float]] = {tree: [] for tree in trees}
    for turn in range(arguments.rounds):
        for tree in trees[:: 1 if turn % 2 else -1]:
            directory = Path(tempfile.mkdtemp(prefix="drain-", dir=arguments.place))
            try:
                asyncio.run(fill(directory / "spool", arguments.messages, arguments.size))
                os.sync()
                wall, cpu = drain(tree, directory / "spool", port)
            finally:
                shutil.rmtree(directory)
            rates[tree].append(arguments.messages / wall)
            print(
                f"{tree}: {rates[tree][-1]:.0f} msg/s,"
                f" {1000 * cpu / arguments.messages:.3f} ms CPU a message",
                flush=True,
            )
    for tree, found in rates.items():
        print(f"{tree}: median {statistics.median(found):.0f} msg/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--size", type=int, default=10240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", help="where the spool is made")
    parser.add_argument("--also", metavar="TREE")
    arguments = parser.parse_args()
    port = free_port()
    identity = ["-u", "nobody"] if os.geteuid() == 0 else []
    sink = subprocess.Popen(["/usr/sbin/smtp-sink", *identity, f"127.0.0.1:{port}", "100"])
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)  # smtp-sink prints nothing when it listens
        measure(arguments, port)
    finally:
        sink.terminate()
        sink.wait()


if __name__ == "__main__":
    main()
