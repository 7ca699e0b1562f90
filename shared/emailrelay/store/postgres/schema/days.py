"""The days of ``history``: a table each, made ahead and dropped whole, which costs no DELETE."""

import datetime as dt

from psycopg import sql

from emailrelay.store.postgres.link.connections import DatabaseConnection

KEPT = 7
"""Days for which the ids of messages that have left are kept."""
_AHEAD = 2
_HAS_DAYS = "select relkind = 'p' from pg_class where oid = 'emailrelay.history'::regclass"
_THERE = """
select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'emailrelay.history'::regclass and c.relname ~ '^history_[0-9]{8}$'
"""
_ONE_AT_A_TIME = "select version from emailrelay.version where version = 1 for update skip locked"
_NO_LONG_WAIT = "set local lock_timeout = '2s'"
"""Settlements must not queue behind a change of the tables that waits for a long transaction."""


async def keep(connection: DatabaseConnection, now: float) -> None:
    """Make the tables of the days ahead, and drop those of the days that are over.

    Within a transaction. Rows of a day without a table, as the first one, are in ``history_rest``.
    A database without such tables has them all in ``history``; a sweep deletes there.
    """
    today = dt.datetime.fromtimestamp(now, dt.UTC).date()
    has_days = await connection.execute(_HAS_DAYS)
    if await has_days.fetchone() != (True,) or not any(await _changes(connection, today)):
        return
    turn = await connection.execute(_ONE_AT_A_TIME)
    if await turn.fetchone() is None:
        return
    missing, over = await _changes(connection, today)
    await connection.execute(_NO_LONG_WAIT)
    for name, day in missing.items():
        await connection.execute(_made(name, day))
    for name in over:
        await connection.execute(sql.SQL("drop table emailrelay.{}").format(sql.Identifier(name)))


async def _changes(
    connection: DatabaseConnection, today: dt.date
) -> tuple[dict[str, dt.date], list[str]]:
    """Return the tables to make, with their days, and those to drop."""
    cursor = await connection.execute(_THERE)
    there = {str(name) for (name,) in await cursor.fetchall()}
    wanted = {_name(day): day for day in _days(today, 1, _AHEAD)}
    missing = {name: day for name, day in wanted.items() if name not in there}
    return missing, sorted(name for name in there if name < _name(_day(today, -KEPT)))


def _day(day: dt.date, later: int) -> dt.date:
    return day + dt.timedelta(days=later)


def _days(today: dt.date, first: int, last: int) -> list[dt.date]:
    return [_day(today, later) for later in range(first, last + 1)]


def _name(day: dt.date) -> str:
    return f"history_{day:%Y%m%d}"


def _made(name: str, day: dt.date) -> sql.Composed:
    return sql.SQL(
        "create table emailrelay.{} partition of emailrelay.history for values from ({}) to ({})"
    ).format(
        sql.Identifier(name),
        sql.Literal(f"{day} 00:00+00"),
        sql.Literal(f"{_day(day, 1)} 00:00+00"),
    )
