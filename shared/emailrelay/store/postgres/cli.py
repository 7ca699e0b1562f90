"""``emailrelay-store``: make the tables of a database store, bring them up to date, and examine it."""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, cast

import typer

from emailrelay.config import Settings, read
from emailrelay.errors import ConfigError, RelayError, StoreUnusable
from emailrelay.events import Event
from emailrelay.printable import printable
from emailrelay.standard_streams import prepare_streams
from emailrelay.store.postgres.link import place
from emailrelay.store.postgres.link.connections import DatabaseConnection, DatabaseConnections
from emailrelay.store.postgres.schema import versions
from emailrelay.store.postgres.schema.migrations import LATEST

PROGRAM = "emailrelay-store"
_ROUND_TRIPS = 9
_LARGEST_CLOCK_DIFFERENCE = 5.0
"""Seconds beyond which the log of this host would be hard to compare with that of others."""
_FEW_CONNECTIONS = 20

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", envvar="EMAILRELAY_CONFIG", help="The settings file."
    ),
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", envvar="EMAILRELAY_STORE", help="The database: postgresql://USER@HOST/NAME."
    ),
]
app = typer.Typer(
    name=PROGRAM,
    help="Make the tables of a database store, bring them up to date, and examine it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class DatabaseSettings(Settings):
    """Settings of emailrelay-store."""

    service = "store"
    program = PROGRAM
    summary = "Makes and examines the tables of a database store."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (docs/postgres.md)."""
    prepare_streams()
    try:
        status: int = app(argv, prog_name=PROGRAM, standalone_mode=False) or os.EX_OK
        sys.stdout.flush()
    except typer.TyperException as error:
        words = error.format_message() or "name a command, see --help"
        return [_complain(line, os.EX_USAGE) for line in words.splitlines() if line][-1]
    except typer.Abort:
        return _complain("nothing was done", 1)
    except ConfigError as error:
        return [_complain(problem, os.EX_CONFIG) for problem in error.problems][-1]
    except RelayError as error:
        return _complain(str(error), os.EX_TEMPFAIL if error.temporary else os.EX_CONFIG)
    return status


def _print_version(asked: bool) -> None:  # noqa: FBT001 - the library's signature
    if asked:
        _say(f"{PROGRAM} {metadata.version('emailrelay')}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Make the tables of a database store, bring them up to date, and examine it."""


@app.command()
def init(config: Config = None, store: StoreUrl = None) -> int:
    """Make the tables in an empty database. Tables that are there already stay as they are."""
    return _with_connection(config, store, _init)


@app.command()
def migrate(config: Config = None, store: StoreUrl = None) -> int:
    """Bring the tables up to date, while services of this version and the one before go on."""
    return _with_connection(config, store, _migrate)


@app.command()
def check(config: Config = None, store: StoreUrl = None) -> int:
    """Examine the database: its version, safety, rights, speed, clock and connections.

    It changes nothing.
    """
    return _with_connection(config, store, _check)


async def _init(_place: place.Place, connection: DatabaseConnection) -> int:
    before = await versions.read(connection)
    after = await versions.migrate(connection, _say)
    if before == after:
        _say(f"the tables are there already, with version {after.version}")
    return os.EX_OK


async def _migrate(_place: place.Place, connection: DatabaseConnection) -> int:
    before = await versions.read(connection)
    if before.version == 0:
        raise StoreUnusable("the database has no tables yet; run: emailrelay-store init")
    after = await versions.migrate(connection, _say)
    if before == after:
        _say(f"nothing to do: the tables have version {after.version}")
    return os.EX_OK


async def _check(where: place.Place, connection: DatabaseConnection) -> int:
    server = await _one(
        connection,
        "select split_part(version(), ',', 1),"
        " (select count(*) from pg_stat_activity where datname is not null),"
        " current_setting('max_connections')::integer",
    )
    found = await versions.read(connection)
    _say(f"{where.shown}: {server[0]}")
    _say(f"tables: version {found.version} of {LATEST}")
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
    _say(f"connections: {used} of {most}; a process of this store opens up to {where.connections}")
    if most - used < _FEW_CONNECTIONS:
        wrong.append(f"only {most - used} connections are left; raise max_connections")
    if found.version:
        await _count(connection)
    for problem in wrong:
        _complain(problem, 0)
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
    _say(f"a question and its answer: {1000 * statistics.median(pauses):.1f} ms")
    difference = min(differences)
    if difference > _LARGEST_CLOCK_DIFFERENCE:
        return [f"the clocks of this host and the database differ by {difference:.0f} s; use NTP"]
    return []


async def _count(connection: DatabaseConnection) -> None:
    cursor = await connection.execute(
        "select stage, count(*) from emailrelay.message group by stage order by stage"
    )
    found = [f"{count} {stage}" for stage, count in await cursor.fetchall()]
    _say(f"messages: {', '.join(found) or 'none'}")


async def _one(connection: DatabaseConnection, statement: str) -> tuple[object, ...]:
    found = await (await connection.execute(statement.encode())).fetchone()
    return found or ()


def _with_connection(
    config: Path | None,
    url: str | None,
    act: Callable[[place.Place, DatabaseConnection], Awaitable[int]],
) -> int:
    where = url or str(_from_settings(config))
    if not where.startswith(("postgresql://", "postgres://")):
        raise StoreUnusable(
            f"{where}: this store is no database, and needs no tables; say --store URL"
        )

    async def run(url: str) -> int:
        connections = DatabaseConnections(place.parse(url), _unheard)
        try:
            async with connections.lend("examine the database") as connection:
                return await act(connections.place, connection)
        finally:
            await connections.close()

    return max([asyncio.run(run(url)) for url in where.split()])


def _from_settings(config: Path | None) -> str | Path:
    argv = [] if config is None else ["--config", os.fspath(config)]
    return read(DatabaseSettings, argv, os.environ).store_place


def _unheard(_event: Event) -> None:
    """Report nothing: the caller hears of the trouble by the error."""


def _say(line: str) -> None:
    sys.stdout.write(f"{printable(line)}\n")


def _complain(text: str, status: int) -> int:
    sys.stderr.write(f"{PROGRAM}: {printable(text)}\n")
    return status
