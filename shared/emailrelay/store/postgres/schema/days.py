"""Tables with a table for each day, made in advance and dropped whole, which costs no DELETE."""

import datetime as dt

from psycopg import sql

from emailrelay.store.postgres.link.connections import DatabaseConnection

KEPT = 7
"""Days for which the ids of messages that have left are kept."""
_AHEAD = 2
_HAS_DAYS = "select relkind = 'p' from pg_class where oid = %(table)s::regclass"
_THERE = """
select c.relname, pg_total_relation_size(c.oid)
from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = %(table)s::regclass
"""
_ONE_AT_A_TIME = "select version from emailrelay.version where version = 1 for update skip locked"
_NO_LONG_WAIT = "set local lock_timeout = '2s'"
"""Settlements must not queue behind a change of the tables that waits for a long transaction."""


async def keep(
    connection: DatabaseConnection,
    now: float,
    *,
    table: str = "history",
    days: int = KEPT,
    octets: int | None = None,
) -> int:
    """Make the tables of the days ahead, and drop those of the days that are over.

    Within a transaction. Rows of a day without a table, as the first one, are in the rest. A
    database without such tables has them all in ``table``; a sweep deletes there.

    ``days``: how many beside today are kept. ``octets``: the oldest are dropped until the others
    take at most so many; today's table stays. Returns the octets that are left, 0 if unknown.
    """
    today = dt.datetime.fromtimestamp(now, dt.UTC).date()
    has_days = await connection.execute(_HAS_DAYS, {"table": f"emailrelay.{table}"})
    if await has_days.fetchone() != (True,):
        return 0
    missing, over, left = await _changes(connection, table, today, days, octets)
    if not missing and not over:
        return left
    turn = await connection.execute(_ONE_AT_A_TIME)
    if await turn.fetchone() is None:
        return left
    missing, over, left = await _changes(connection, table, today, days, octets)
    await connection.execute(_NO_LONG_WAIT)
    for day in missing:
        await connection.execute(_made(table, day))
    for name in over:
        await connection.execute(sql.SQL("drop table emailrelay.{}").format(sql.Identifier(name)))
    return left


async def _changes(
    connection: DatabaseConnection, table: str, today: dt.date, days: int, octets: int | None
) -> tuple[list[dt.date], list[str], int]:
    """Return the days whose tables are to be made, the tables to drop, and the octets left."""
    cursor = await connection.execute(_THERE, {"table": f"emailrelay.{table}"})
    there = {str(name): int(str(size)) for name, size in await cursor.fetchall()}
    wanted = [_day(today, later) for later in range(1, _AHEAD + 1)]
    missing = [day for day in wanted if _name(table, day) not in there]
    left, over = sum(there.values()), list[str]()
    dated = sorted(name for name in there if name != f"{table}_rest")
    for name in dated:
        too_old = name < _name(table, _day(today, -days))
        too_many = octets is not None and left > octets and name < _name(table, today)
        if too_old or too_many:
            over.append(name)
            left -= there[name]
    return missing, over, left


def _day(day: dt.date, later: int) -> dt.date:
    try:
        return day + dt.timedelta(days=later)
    except OverflowError:
        return dt.date.min


def _name(table: str, day: dt.date) -> str:
    return f"{table}_{day:%Y%m%d}"


def _made(table: str, day: dt.date) -> sql.Composed:
    return sql.SQL(
        "create table emailrelay.{} partition of emailrelay.{} for values from ({}) to ({})"
    ).format(
        sql.Identifier(_name(table, day)),
        sql.Identifier(table),
        sql.Literal(f"{day} 00:00+00"),
        sql.Literal(f"{_day(day, 1)} 00:00+00"),
    )
