"""The cost of the forwarder by itself: mail from memory to smtp-sink, no store in between.

.venv/bin/python bench/forwarder_only.py [--messages 10000] [--size 10240] [--connections 20]
    [--profile]
"""

import argparse
import asyncio
import cProfile
import os
import pstats
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Collection
from functools import partial

import uvloop

from emailrelay.ack import Ack
from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import Event
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.routes import only
from emailrelay.schedule import Schedule
from emailrelay.settlement import Done, Settlement
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK
from emailrelay.store.claim import Claim, WorkCopy
from emailrelay.store.feed import Feed
from emailrelay.store.memory.store import MemoryStore
from emailrelay_forwarder.delivery.forwarding import Forwarding
from emailrelay_forwarder.delivery.rules import Rules
from emailrelay_forwarder.session.opening import open_session
from emailrelay_forwarder.session.session_settings import SessionSettings
from emailrelay_forwarder.worker import ForwarderWorker


class Gift(Claim):
    """A message that costs nothing to claim or to settle."""

    def __init__(self, number: int, content: bytes, feed: "Gifts") -> None:
        self.id = QueueId(f"1.1.{number}")
        self.stage = Stage.READY
        self.ack = Ack.STORED
        self.envelope = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
        self.history = History(accepted_at=time.time(), started_at=time.time())
        self.size = len(content)
        self._content = content
        self._feed = feed

    async def content(self) -> AsyncIterator[bytes]:
        for start in range(0, self.size, CHUNK):
            yield self._content[start : start + CHUNK]

    async def work_copy(self, suffix: str) -> WorkCopy:
        raise NotImplementedError  # no filters here, so no caller asks for a copy

    def touched(self) -> bool:
        return False

    async def before_dot(self, peer: str) -> bool:  # noqa: ARG002 - nothing dies here
        return True

    async def settle(self, settlement: Settlement, answer: Reply | None = None) -> bool:
        if not isinstance(settlement, Done):
            raise TypeError(settlement, answer)
        self._feed.settled()
        return True

    async def release(self) -> None:
        pass


class Gifts(Feed):
    """This many messages, then none."""

    def __init__(self, count: int, content: bytes) -> None:
        self._content = content
        self._claimed = 0
        self._left = self._count = count
        self.done = asyncio.Event()

    async def claim(self) -> Claim:
        if self._claimed == self._count:
            await asyncio.get_running_loop().create_future()
        self._claimed += 1
        return Gift(self._claimed, self._content, self)

    def settled(self) -> None:
        self._left -= 1
        if not self._left:
            self.done.set()

    def wake(self) -> None:
        pass

    def recall(self, messages: Collection[QueueId]) -> None:
        pass


def ignore(_event: Event) -> None:
    pass


async def forward(arguments: argparse.Namespace, port: int) -> None:
    line = b"x" * 70 + b"\r\n"
    content = (line * (arguments.size // len(line) + 1))[: arguments.size]
    feed = Gifts(arguments.messages, content)
    rules = Rules(
        routes=only(f"127.0.0.1:{port}", Schedule()),
        most=arguments.connections,
        schedule=Schedule(),
        open_session=partial(open_session, settings=SessionSettings(domain="bench.test")),
        limits=MemoryStore(report=ignore).limits,
        report=ignore,
        clock=time.time,
    )
    forwarding = Forwarding(rules, lambda _recall: None)
    worker = ForwarderWorker(
        feed=feed, forwarding=forwarding, report=ignore, tasks=arguments.connections + 5, grace=3.0
    )
    wall, cpu = time.perf_counter(), time.process_time()
    await worker.run(feed.done)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await forwarding.close()
    rate = arguments.messages / wall
    print(f"{rate:.0f} msg/s, {1000 * cpu / arguments.messages:.3f} ms CPU a message")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10000)
    parser.add_argument("--size", type=int, default=10240)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--no-pipelining", action="store_true", help="the sink does not offer it")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="uvloop")
    arguments = parser.parse_args()
    port = free_port()
    identity = ["-u", "nobody"] if os.geteuid() == 0 else []
    identity += ["-p"] if arguments.no_pipelining else []
    sink = subprocess.Popen(["/usr/sbin/smtp-sink", *identity, f"127.0.0.1:{port}", "100"])
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)  # smtp-sink prints nothing when it listens
        factory = asyncio.new_event_loop
        if arguments.loop == "uvloop":
            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            if arguments.profile:
                profile = cProfile.Profile()
                profile.runcall(runner.run, forward(arguments, port))
                pstats.Stats(profile).sort_stats("tottime").print_stats(30)
            else:
                runner.run(forward(arguments, port))
    finally:
        sink.terminate()
        sink.wait()


if __name__ == "__main__":
    main()
