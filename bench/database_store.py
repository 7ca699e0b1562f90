"""The PostgreSQL store: against one row at a time, against the spool, with a deep queue, and idle.

.venv/bin/python -m bench.database_store rates [--messages 2000] [--rounds 3]
.venv/bin/python -m bench.database_store deep [--queued 1000000] [--routes 20000]
.venv/bin/python -m bench.database_store idle [--seconds 30]
.venv/bin/python -m bench.database_store relay [--messages 2000] [--rounds 3]
.venv/bin/python -m bench.database_store memory

It starts a server of its own, with Debian's settings: fsync and synchronous_commit are on.
"""

import argparse
import asyncio
import os
import resource
import statistics
import tempfile
import time
import uuid
import zlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
from tests.database_server import DatabaseServer
from tests.faults.gauge import Gauge

from bench.case import Bench, Figures
from bench.cases.relay import RATE, relayed
from bench.load import MIB, Load, warm_up
from bench.machine import at_rest, forget_peaks
from bench.peers import ours
from bench.sinks import sink
from bench.spool_commit import commit, ignore, share
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.store.postgres.message.claim import PostgresClaim
from emailrelay.store.postgres.store import PostgresStore

_SIZE = 10240
_AT_ONCE = 50
_CONNECTIONS = 4
_CLAIM = 20
_PATIENCE = 120.0
_LEASE = """
update emailrelay.message set lease_until = statement_timestamp() + interval '60 s',
    lease_token = lease_token + 1 where id = (select id from emailrelay.message
        where stage = 'ready' and run_at <= statement_timestamp()
        and (lease_until is null or lease_until <= statement_timestamp())
        order by run_at, id limit 1 for update skip locked) returning id
"""


class OneRow:
    """The same tables, used one row at a time: a transaction for each message and each step."""

    def __init__(self, connections: list[psycopg.AsyncConnection[tuple[object, ...]]]) -> None:
        self._free: asyncio.Queue[psycopg.AsyncConnection[tuple[object, ...]]] = asyncio.Queue()
        for connection in connections:
            self._free.put_nowait(connection)

    async def _lend(
        self, act: Callable[[psycopg.AsyncConnection[tuple[object, ...]]], Awaitable[None]]
    ) -> None:
        connection = await self._free.get()
        try:
            await act(connection)
        finally:
            self._free.put_nowait(connection)

    async def put(self, content: bytes) -> None:
        """Insert one message."""

        async def act(lent: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
            message = uuid.uuid4()
            async with lent.transaction():
                await lent.execute(
                    "insert into emailrelay.message (id, stage, run_at, size, crc32, envelope,"
                    " journal) values (%s, 'ready', statement_timestamp(), %s, %s, %s, '')",
                    (message, len(content), zlib.crc32(content), b"x" * 200),
                )
                await lent.execute(
                    "insert into emailrelay.body values (%s, 0, %s)", (message, content)
                )

        await self._lend(act)

    async def finish(self) -> None:
        """Claim, read, and remove one message."""

        async def act(lent: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
            found = await (await lent.execute(_LEASE.encode())).fetchone()
            if found is None:
                raise RuntimeError("no message is left")
            where = {"id": found[0]}
            await (
                await lent.execute(
                    "select octets from emailrelay.body where message = %(id)s", where
                )
            ).fetchall()
            async with lent.transaction():
                await lent.execute("delete from emailrelay.message where id = %(id)s", where)
                await lent.execute("delete from emailrelay.body where message = %(id)s", where)
                await lent.execute(
                    "insert into emailrelay.history (id, ended_at) values (%(id)s, now())", where
                )

        await self._lend(act)


async def batches(server: DatabaseServer, messages: int, content: bytes) -> tuple[float, float]:
    """Return messages a second: enqueue, and claim to done."""
    url = server.url(server.database(Path(f"ours-{uuid.uuid4()}")), connections=str(_CONNECTIONS))
    async with open_store(url, report=ignore) as store:
        await share(50, _AT_ONCE, lambda: _put(store, content))
        taken = await share(messages, _AT_ONCE, lambda: _put(store, content))
        async with store.feed(Stage.READY) as feed:

            async def finish() -> None:
                async with await feed.claim() as claim:
                    _ = [chunk async for chunk in claim.content()]
                    await claim.settle(Done())

            given = await share(messages, _AT_ONCE, finish)
    return taken.rate, given.rate


async def _put(store: Store, content: bytes) -> None:
    await commit(store, content)


async def one_row(server: DatabaseServer, messages: int, content: bytes) -> tuple[float, float]:
    """Return the same of the other use of the tables."""
    where = server.conninfo(server.database(Path(f"row-{uuid.uuid4()}")))
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(
                await psycopg.AsyncConnection.connect(where, autocommit=True)
            )
            for _ in range(_CONNECTIONS)
        ]
        rows = OneRow(connections)
        await share(50, _AT_ONCE, lambda: rows.put(content))
        taken = await share(messages, _AT_ONCE, lambda: rows.put(content))
        given = await share(messages, _AT_ONCE, rows.finish)
    return taken.rate, given.rate


def rates(server: DatabaseServer, arguments: argparse.Namespace) -> None:
    content = (b"x" * 70 + b"\r\n") * (_SIZE // 72)
    found: dict[str, list[float]] = {"enqueue": [], "claim to done": []}
    for turn in range(arguments.rounds):
        pair = dict[object, tuple[float, float]]()
        for act in (batches, one_row)[:: 1 if turn % 2 else -1]:
            pair[act] = asyncio.run(act(server, arguments.messages, content))
        for n, what in enumerate(found):
            found[what].append(pair[batches][n] / pair[one_row][n])
            print(
                f"{what}: {pair[batches][n]:,.0f}/s, one row at a time {pair[one_row][n]:,.0f}/s,"
                f" ratio {found[what][-1]:.2f}; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    for what, ratios in found.items():
        print(f"{what}: median ratio {statistics.median(ratios):.2f}")


_FILL = """
with made as (
insert into emailrelay.message (id, stage, run_at, size, crc32, envelope, journal)
select gen_random_uuid(), 'ready', statement_timestamp() - make_interval(secs => n %% 86400), 5, 0,
    convert_to(replace(%(head)s, 'y.test', 'r' || n %% %(routes)s || '.test'), 'UTF8'), ''
from generate_series(1, %(queued)s) n returning id)
insert into emailrelay.body (message, n, octets) select id, 0, 'hello' from made
"""


def deep(server: DatabaseServer, arguments: argparse.Namespace) -> None:
    """Claim from a deep queue, 20 messages at a time."""
    name = server.database(Path("deep"))
    head = (
        b"X-MailRelay-Format: #2821.5\r\n"
        b"X-MailRelay-Content: 7bit\r\n"
        b"X-MailRelay-From: a@x.test\r\n"
        b"X-MailRelay-ToCount: 1\r\n"
        b"X-MailRelay-To-Remote: b@y.test\r\n"
        b"X-MailRelay-Authentication: \r\n"
        b"X-MailRelay-Client: \r\n"
        b"X-MailRelay-ClientCertificate: \r\n"
        b"X-MailRelay-MailFromAuthIn: \r\n"
        b"X-MailRelay-MailFromAuthOut: \r\n"
        b"X-MailRelay-ForwardTo: \r\n"
        b"X-MailRelay-ForwardToAddress: \r\n"
        b"X-MailRelay-ClientAccountSelector: \r\n"
        b"X-MailRelay-Utf8MailboxNames: 0\r\n"
        b"X-MailRelay-End: 1\r\n"
    )
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        parameters = {"routes": arguments.routes, "queued": arguments.queued, "head": head.decode()}
        connection.execute(_FILL, parameters)
        connection.execute("vacuum analyze emailrelay.message, emailrelay.body")
    print(f"{arguments.queued} messages are queued; load {os.getloadavg()[0]:.1f}", flush=True)
    asyncio.run(_claims(server.url(name)))


async def _claims(url: str) -> None:
    async with PostgresStore(url, report=ignore) as store:
        services = store._services  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- statements are measured
        taken: list[float] = []
        for _ in range(200):
            began = time.perf_counter()
            got = await services.claimer.due(Stage.READY, _CLAIM)
            taken.append(1000 * (time.perf_counter() - began))
            if len(got) != _CLAIM:
                raise RuntimeError(f"{len(got)} messages were claimed")
            claims = [PostgresClaim(services, each) for each in got]
            await asyncio.gather(*(claim.settle(Done()) for claim in claims))
    taken.sort()
    print(
        f"claim of {_CLAIM}: median {statistics.median(taken):.2f} ms, p95 {taken[189]:.2f} ms;"
        f" load {os.getloadavg()[0]:.1f}"
    )


def idle(server: DatabaseServer, arguments: argparse.Namespace) -> None:
    """Poll an empty database."""
    asyncio.run(_idle(server.url(server.database(Path("idle"))), arguments.seconds))


async def _idle(url: str, seconds: float) -> None:
    async with open_store(url, report=ignore) as store, store.feed(Stage.READY) as feed:
        waiting = asyncio.create_task(feed.claim())
        await asyncio.sleep(10)  # the pauses have grown
        before = resource.getrusage(resource.RUSAGE_SELF)
        await asyncio.sleep(seconds)
        after = resource.getrusage(resource.RUSAGE_SELF)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"idle feed: {100 * spent / seconds:.3f} % of a CPU")
        waiting.cancel()
        await asyncio.wait((waiting,))


def relay(server: DatabaseServer, arguments: argparse.Namespace) -> None:
    """Relay 10 KiB messages over 20 sessions, with the spool and the database in turn."""
    load = Load(messages=arguments.messages, octets=_SIZE, sessions=20)
    ratios: list[float] = []
    for turn in range(arguments.rounds):
        found: dict[str, Figures] = {}
        for kind in ("spool", "database")[:: 1 if turn % 2 else -1]:
            with tempfile.TemporaryDirectory(prefix="bench-") as directory:
                store = _store(server) if kind == "database" else []
                found[kind] = _relay(Bench(directory=Path(directory)), load, store)
            figures = ", ".join(f"{name} {value:.2f}" for name, value in found[kind].items())
            print(f"{kind}: {figures}; load {os.getloadavg()[0]:.1f}", flush=True)
        ratios.append(found["database"][RATE] / found["spool"][RATE])
    print(f"relayed/s, database : spool: median ratio {statistics.median(ratios):.2f}")


def _store(server: DatabaseServer) -> list[str]:
    return ["--store", server.url(server.database(Path(f"relay-{uuid.uuid4()}")))]


def _relay(bench: Bench, load: Load, store: list[str]) -> Figures:
    with (
        sink(messages=load.messages + load.sessions) as target,
        ours(bench, forward_to=target.port, receiver=store, forwarder=store) as peer,
    ):
        warm_up(peer.port, load.sessions)
        return relayed(peer, target, load)


def memory(server: DatabaseServer, _: argparse.Namespace) -> None:
    """Relay one message of 50 MiB; print what each process needs more than before."""
    store = _store(server)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        sink(messages=2) as target,
        ours(
            Bench(directory=Path(directory)),
            forward_to=target.port,
            receiver=store,
            forwarder=store,
        ) as peer,
    ):
        warm_up(peer.port, 1)
        at_rest(peer.pids())
        before = {name: Gauge.of(process.pid) for name, process in peer.processes.items()}
        forget_peaks(peer.pids())
        Load(messages=1, octets=50 * MIB, sessions=1).send(peer.port)
        target.wait(_PATIENCE)
        for name, process in peer.processes.items():
            more = Gauge.of(process.pid).peak - before[name].resident
            print(f"{name}: {more / MIB:.1f} MiB more than at rest for 50 MiB", flush=True)


_ACTS = {"rates": rates, "deep": deep, "idle": idle, "relay": relay, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=list(_ACTS))
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queued", type=int, default=1_000_000)
    parser.add_argument("--routes", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    server = DatabaseServer("autovacuum=on", fast=False)
    try:
        _ACTS[arguments.what](server, arguments)
    finally:
        server.remove()


if __name__ == "__main__":
    main()
