"""The history: seconds for a trace, and the cost of a record.

.venv/bin/python -m bench.history [--records 1000000] [--days 3] [--rounds 5] [--without-database]

It fills the history of a spool, and of a PostgreSQL of its own, with so many records on each of the
last days. Then it asks for messages of the newest day in turn, by an id or a text. At the end it
lets messages leave a spool with the history on and off, in turn.
"""

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql
from tests.database_server import DatabaseServer

from emailrelay import history_record
from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import report_nothing
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import past
from emailrelay.journal import Attempt
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import to_uuid
from emailrelay.reply import Reply
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.store.mail_history import NO_HISTORY, HistoryBounds

_WIDE = HistoryBounds(60, 1 << 45)
_DAY = 86400
_DEFERRED = 50
"""Of so many messages one is deferred, for up to four hours."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-database", action="store_true")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        spool = Path(directory) / "spool"
        asyncio.run(_traces(str(spool), options, partial(_fill_spool, spool)))
        _command(spool)
    if not options.without_database:
        server = DatabaseServer("max_wal_size=4GB", fast=False)
        try:
            with tempfile.TemporaryDirectory() as directory:
                name = server.database(Path(directory))
                fill = partial(_fill_database, server.conninfo(name))
                asyncio.run(_traces(server.url(name), options, fill))
        finally:
            server.remove()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        asyncio.run(_costs(Path(directory), options.rounds))
    print(f"load {os.getloadavg()[0]:.1f} after")
    return 0


def _day_begin(back: int) -> float:
    return (time.time() // _DAY - back) * _DAY


def _records(number: int, begin: float) -> Iterator[tuple[QueueId, float, bytes]]:
    """Yield the records of a day in the order of their ends."""
    chance = random.Random(begin)  # noqa: S311 - no secret
    for n in range(number):
        ended = begin + n * (_DAY - 1) / number
        waited = chance.random() * 14400 if n % _DEFERRED == 0 else 1.0
        message = QueueId(f"{int((ended - waited) * 1000)}.{chance.getrandbits(42)}.{n + 1}")
        to = Address(f"user{n % 200_000}@dest{n % 997}.example.net")
        envelope = Envelope(
            sender=Address(f"app{n % 50}@example.org"),
            to_remote=(to,),
            client="192.0.2.17",
            authentication="application",
            message_id=f"<{chance.getrandbits(96):x}@host.example.org>",
        )
        accepted = Accepted(at=ended - waited, stage=Stage.READY, length=10_240, crc32=1 << 31)
        reply = Reply(250, f"2.0.0 Ok: queued as {chance.getrandbits(40):X}")
        tried = Attempt(at=ended, peer="203.0.113.9:25", replies={to: reply}, tls="TLSv1.3")
        end = MessageEnd.DELIVERED
        told = past(message, envelope, (accepted, tried), now=ended, end=end, size=10_240)
        yield message, ended, history_record.write(told)


def _fill_spool(spool: Path, records: int, back: int) -> list[str]:
    name = time.strftime("%Y-%m-%d", time.gmtime(_day_begin(back)))
    ids: list[str] = []
    with (spool / ".history" / f"{name}.jsonl").open("wb") as file:
        for message, _, line in _records(records, _day_begin(back)):
            file.write(line)
            ids.append(message)
    return ids


def _fill_database(conninfo: str, records: int, back: int) -> list[str]:
    ids: list[str] = []
    first, last = (_text_of(_day_begin(each)) for each in (back, back - 1))
    with psycopg.connect(conninfo) as connection, connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "create table emailrelay.{} partition of emailrelay.past_message"
                " for values from ({}) to ({})"
            ).format(
                sql.Identifier(f"past_message_{first[:10].replace('-', '')}"),
                sql.Literal(first),
                sql.Literal(last),
            )
        )
        into = "copy emailrelay.past_message (id, ended_at, record) from stdin"
        with cursor.copy(into) as copy:
            for message, ended, line in _records(records, _day_begin(back)):
                row = to_uuid(message), _text_of(ended), line.decode().rstrip()
                copy.write_row(row)
                ids.append(message)
        connection.commit()
        cursor.execute("analyze emailrelay.past_message")
    return ids


def _text_of(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(moment))


async def _traces(
    place: str, options: argparse.Namespace, fill: Callable[[int, int], list[str]]
) -> None:
    async with open_store(place, report=report_nothing) as store:
        await store.history().keep(_WIDE)
        for back in range(options.days, 1, -1):
            fill(options.records, back)
        ids = fill(options.records, 1)
        since = _day_begin(1)
        chance = random.Random(1)  # noqa: S311 - no secret
        took: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            n = chance.randrange(options.records)
            late = n - n % _DEFERRED
            soon = n if n % _DEFERRED else n + 1
            number = soon % 200_000, soon % 997
            address = f"user{number[0]}@dest{number[1]}.example.net"
            asked = {
                "id, ended within a second": HistoryQuery(id=QueueId(ids[soon])),
                "id, deferred for hours": HistoryQuery(id=QueueId(ids[late])),
                "address, one day": HistoryQuery(text=address, since=since),
                "unknown address, one day": HistoryQuery(text="zoe@example.com", since=since),
                f"unknown address, {options.days} days": HistoryQuery(text="zoe@example.com"),
            }
            for name, wanted in asked.items():
                began = time.perf_counter()
                found = [message async for message in store.history().find(wanted)]
                took.setdefault(name, []).append(time.perf_counter() - began)
                if bool(found) is ("unknown" in name):
                    raise ValueError(f"{name}: {len(found)} messages")
    print(f"{place.partition(':')[0] if '://' in place else 'spool'}:", end=" ")
    print(f"{options.days} days of {options.records} records")
    for name, seconds in took.items():
        print(
            f"  {name}: median {statistics.median(seconds):.3f} s,"
            f" from {min(seconds):.3f} to {max(seconds):.3f}",
            flush=True,
        )


def _command(spool: Path) -> None:
    """Time the whole command for an id."""
    with next((spool / ".history").glob("*.jsonl")).open("rb") as file:
        record = history_record.read(file.readline())
    if record is None:
        raise ValueError("the first line is no record")
    began = time.perf_counter()
    words = ("trace", record.id, "--spool-dir", str(spool))
    subprocess.run(
        [sys.executable, "-m", "emailrelay.queue", *words],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    print(f"  the command for an id, with the start of Python: {time.perf_counter() - began:.2f} s")


async def _costs(directory: Path, rounds: int, messages: int = 3000) -> None:
    cpu: dict[str, list[float]] = {"on": [], "off": []}
    for n in range(rounds):
        for name, bounds in (("on", _WIDE), ("off", NO_HISTORY)):
            async with open_store(directory / f"{name}{n}", report=report_nothing) as store:
                await store.history().keep(bounds)
                cpu[name].append(await _leave(store, messages))
    both = {name: statistics.median(each) / messages * 1e6 for name, each in cpu.items()}
    print(f"CPU to claim and settle a message: {both['on']:.0f} µs with the history,", end=" ")
    print(f"{both['off']:.0f} without; medians of {rounds} times {messages}")


async def _leave(store: Store, messages: int) -> float:
    """Let so many messages leave; return the seconds of CPU."""
    envelope = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
    ids: list[QueueId] = []
    for _ in range(messages):
        async with store.draft(envelope) as draft:
            draft.write(b"x" * 1000)
            await draft.commit(Stage.READY)
        ids.append(draft.id)
    reply = Reply(250, "2.0.0 Ok: queued as 4F2A1B3C")
    before = time.process_time()
    for message in ids:
        claim = await store.claim(Stage.READY, message)
        if claim is None:
            raise ValueError(message)
        async with claim:
            replies = {Address("b@y.test"): reply}
            await claim.settle(Done(Attempt(at=1.0, peer="203.0.113.9:25", replies=replies)))
    return time.process_time() - before


if __name__ == "__main__":
    sys.exit(main())
