"""The latest time that the database's clock has shown: a clock set back must strand no mail."""

from emailrelay.store.postgres.link.clock import NOW
from emailrelay.store.postgres.link.connections import DatabaseConnection
from emailrelay.store.postgres.link.database import Database

_SLACK = 60.0
"""Seconds by which a clock may be put right without more ado."""
_SET_BACK = f"""
select latest > {NOW} + make_interval(secs => %(slack)s) from emailrelay.clock_mark for update
"""
_MARK = f"""
insert into emailrelay.clock_mark (only_row, latest) values (true, {NOW})
on conflict (only_row) do update set latest = excluded.latest
where clock_mark.latest < excluded.latest or %(back)s
"""
_DUE = f"""
update emailrelay.message set run_at = {NOW}
where stage in ('unfiltered', 'ready') and run_at > {NOW}
"""


async def look(database: Database) -> None:
    """Mark the present time. If the clock has been set back, make all mail due now.

    The time of the next try was set by a clock that showed something else.

    Raises:
        StoreError: the database cannot do it now.

    """
    parameters = {"now": database.clock.parameter, "slack": _SLACK}
    async with database.connections.transact("look at the clock") as connection:
        back = await _is_back(connection, parameters)
        if back:
            await connection.execute(_DUE, parameters)
        await connection.execute(_MARK, {**parameters, "back": back})


async def _is_back(connection: DatabaseConnection, parameters: dict[str, float | None]) -> bool:
    cursor = await connection.execute(_SET_BACK, parameters)
    return await cursor.fetchone() == (True,)
