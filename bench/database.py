"""The inputs of docs/scaling.md, measured: one PostgreSQL, one process that writes and reads.

``python -m bench.database``. It starts a server of its own with the defaults of PostgreSQL
(``fsync`` and ``synchronous_commit`` are on) and removes it at the end.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from tests.database_server import DatabaseServer

from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import report_nothing
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store

_SENDERS, _WORKERS = 64, 40
_ENVELOPE = Envelope(sender=Address("a@bench.test"), to_remote=(Address("b@bench.test"),))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--octets", type=int, default=10 * 1024)
    options = parser.parse_args()
    server = DatabaseServer("max_wal_size=4GB", fast=False)
    try:
        with TemporaryDirectory() as directory:
            name = server.database(Path(directory))
            asyncio.run(_measure(server, name, options.messages, os.urandom(options.octets)))
    finally:
        server.remove()
    return 0


async def _measure(server: DatabaseServer, name: str, messages: int, content: bytes) -> None:
    load, cores = os.getloadavg()[0], os.cpu_count()
    print(f"{messages} messages of {len(content)} octets; {cores} cores, load {load:.1f} before")
    async with open_store(server.url(name, connections="8"), report=report_nothing) as store:
        before = _wal(server, name)
        seconds = await _shared(_SENDERS, messages, lambda: _put(store, content))
        written = _wal(server, name)
        print(f"enqueue: {messages / seconds:.0f}/s")
        print(f"  WAL: {(written - before) / messages / 1024:.1f} KiB a message")
        print(f"  tables and indexes: {_size(server, name) / messages / 1024:.1f} KiB a message")
        async with store.feed(Stage.READY) as feed:

            async def take() -> None:
                async with await feed.claim() as claim:
                    async for _ in claim.content():
                        pass
                    await claim.before_dot("bench:25")
                    await claim.settle(Done())

            seconds = await _shared(_WORKERS, messages, take)
        print(f"claim, read, mark the final dot, remove: {messages / seconds:.0f}/s")
        print(f"  WAL: {(_wal(server, name) - written) / messages / 1024:.1f} KiB a message")
        print(
            f"  history, for seven days: {_history(server, name) / messages:.0f} octets a message"
        )


async def _put(store: Store, content: bytes) -> None:
    async with store.draft(_ENVELOPE) as draft:
        if not draft.write(content):
            await draft.drain()
        await draft.commit(Stage.READY)


async def _shared(tasks: int, times: int, act: Callable[[], Awaitable[None]]) -> float:
    """Do ``act`` so many times in so many tasks; return the seconds."""
    left: Iterator[int] = iter(range(times))

    async def work() -> None:
        for _ in left:
            await act()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(work())
    return time.perf_counter() - began


def _wal(server: DatabaseServer, name: str) -> int:
    return _number(server, name, "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")


def _size(server: DatabaseServer, name: str) -> int:
    return _number(
        server,
        name,
        "select pg_total_relation_size('emailrelay.message')"
        " + pg_total_relation_size('emailrelay.body')",
    )


def _history(server: DatabaseServer, name: str) -> int:
    return _number(
        server,
        name,
        "select sum(pg_total_relation_size(relid))::bigint"
        " from pg_partition_tree('emailrelay.history')",
    )


def _number(server: DatabaseServer, name: str, question: str) -> int:
    with psycopg.connect(server.conninfo(name)) as connection:
        found = connection.execute(question.encode()).fetchone()
    return 0 if found is None else int(found[0])


if __name__ == "__main__":
    raise SystemExit(main())
