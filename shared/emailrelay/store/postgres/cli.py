"""``emailrelay-store``: makes the tables of a database store, updates them, and examines it."""

import asyncio
import os
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from emailrelay.config import Settings, read
from emailrelay.errors import ConfigError, StoreUnusable
from emailrelay.events.event import report_nothing
from emailrelay.store.postgres.link import place
from emailrelay.store.postgres.link.connections import DatabaseConnection, DatabaseConnections
from emailrelay.store.postgres.schema import versions
from emailrelay.store.postgres.schema.migrations import LATEST
from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.output import print_line
from emailrelay.terminal.run_command import run_command
from emailrelay.terminal.verbs import ProgramOfVerbs, Verb, add_config, add_store

PROGRAM = "emailrelay-store"
_ROUND_TRIPS = 9
_LARGEST_CLOCK_DIFFERENCE = 5.0
"""Seconds beyond which the log of this host would be hard to compare with that of others."""
_FEW_CONNECTIONS = 20


class DatabaseSettings(Settings):
    """Settings of emailrelay-store."""

    service = "store"
    program = PROGRAM
    summary = "Makes and examines the tables of a database store."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (docs/postgres.md)."""
    words = sys.argv[1:] if argv is None else list(argv)
    return run_command(lambda: STORE.run(words), program=PROGRAM)


async def _init(_place: place.Place, connection: DatabaseConnection) -> int:
    before = await versions.read(connection)
    after = await versions.migrate(connection, print_line)
    if before == after:
        print_line(f"the tables are there already, with version {after.version}")
    return os.EX_OK


async def _migrate(_place: place.Place, connection: DatabaseConnection) -> int:
    before = await versions.read(connection)
    if before.version == 0:
        raise StoreUnusable("the database has no tables yet; run: emailrelay-store init")
    after = await versions.migrate(connection, print_line)
    if before == after:
        print_line(f"nothing to do: the tables have version {after.version}")
    return os.EX_OK


async def _check(where: place.Place, connection: DatabaseConnection) -> int:
    server = await _one(
        connection,
        "select split_part(version(), ',', 1),"
        " (select count(*) from pg_stat_activity where datname is not null),"
        " current_setting('max_connections')::integer",
    )
    found = await versions.read(connection)
    print_line(f"{where.shown}: {server[0]}")
    print_line(f"tables: version {found.version} of {LATEST}")
    wrong = [] if found.problem() is None else [str(found.problem())]
    wrong += [
        f"{setting}: the server may lose mail it has confirmed"
        for setting in await versions.unsafe_settings(connection, where.allow)
    ]
    wrong += [
        f"table {table}: this user lacks a right; see docs/postgres.md for the grants"
        for table in await versions.missing_rights(connection)
    ]
    wrong += await _clock_and_speed(connection)
    used, most = cast("int", server[1]), cast("int", server[2])
    print_line(
        f"connections: {used} of {most}; a process of this store opens up to {where.connections}"
    )
    if most - used < _FEW_CONNECTIONS:
        wrong.append(f"only {most - used} connections are left; raise max_connections")
    if found.version:
        await _count(connection)
    for problem in wrong:
        print_errors(PROGRAM, problem)
    return os.EX_CONFIG if wrong else os.EX_OK


async def _clock_and_speed(connection: DatabaseConnection) -> list[str]:
    pauses, differences = list[float](), list[float]()
    for _ in range(_ROUND_TRIPS):
        asked, shown = time.monotonic(), time.time()
        (theirs,) = await _one(
            connection, "select extract(epoch from clock_timestamp())::float8 as now"
        )
        pauses.append(time.monotonic() - asked)
        differences.append(abs(cast("float", theirs) - shown))
    print_line(f"a question and its answer: {1000 * statistics.median(pauses):.1f} ms")
    difference = min(differences)
    if difference > _LARGEST_CLOCK_DIFFERENCE:
        return [f"the clocks of this host and the database differ by {difference:.0f} s; use NTP"]
    return []


async def _count(connection: DatabaseConnection) -> None:
    cursor = await connection.execute(
        "select stage, count(*) from emailrelay.message group by stage order by stage"
    )
    found = [f"{count} {stage}" for stage, count in await cursor.fetchall()]
    print_line(f"messages: {', '.join(found) or 'none'}")


async def _one(connection: DatabaseConnection, statement: str) -> tuple[object, ...]:
    found = await (await connection.execute(statement.encode())).fetchone()
    return found or ()


def _with_connection(
    act: Callable[[place.Place, DatabaseConnection], Awaitable[int]], asked: Namespace
) -> int:
    where: str = asked.store or str(_from_settings(asked.config))
    if not where.startswith(("postgresql://", "postgres://")):
        wrong = f"{where}: this store is not a database, and needs no tables; use --store URL"
        raise ConfigError([wrong])

    async def run(url: str) -> int:
        connections = DatabaseConnections(place.parse(url), report_nothing)
        try:
            async with connections.lend("examine the database") as connection:
                return await act(connections.place, connection)
        finally:
            await connections.close()

    try:
        return max([asyncio.run(run(url)) for url in where.split()])
    except StoreUnusable as error:
        raise ConfigError([str(error)]) from error


def _from_settings(config: str | None) -> str | Path:
    argv = [] if config is None else ["--config", config]
    return read(DatabaseSettings, argv, os.environ).store_place


STORE = ProgramOfVerbs(
    PROGRAM,
    "Make the tables of a database store, bring them up to date, and examine it.",
    {
        "init": Verb(
            "Create the tables in an empty database. Existing tables stay as they are.",
            "[options]",
            partial(_with_connection, _init),
            (),
            ("init --store postgresql://relay@db.example.test/mail",),
        ),
        "migrate": Verb(
            "Bring the tables up to date, while services of this and the previous version run.",
            "[options]",
            partial(_with_connection, _migrate),
            (),
            ("migrate",),
        ),
        "check": Verb(
            "Examine the database: version, safety, rights, speed, clock. It changes nothing.",
            "[options]",
            partial(_with_connection, _check),
            (),
            ("check",),
        ),
    },
    statuses=(
        (0, "done (check: there is no problem)"),
        (64, "the command line is wrong"),
        (75, "the database cannot be used now"),
        (78, "the settings or the database have a problem"),
    ),
    examples=("init", "check"),
    options=(add_config, add_store),
)
