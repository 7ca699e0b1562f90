"""The latest time that the database's clock has shown: a clock set back must strand no mail."""

from emailrelay.store.postgres.link.clock import NOW
from emailrelay.store.postgres.link.database import Database

_SLACK = 60.0
"""Seconds by which a clock may be put right without more ado."""
# A process that holds the lock is looking as well, or its host has vanished.
_SET_BACK = f"""
select latest > {NOW} + make_interval(secs => %(slack)s) from emailrelay.clock_mark
for update skip locked
"""
_FIRST = f"""
insert into emailrelay.clock_mark (only_row, latest) values (true, {NOW})
on conflict (only_row) do nothing
"""
_MARK = f"update emailrelay.clock_mark set latest = {NOW} where latest < {NOW} or %(back)s"
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
        found = await (await connection.execute(_SET_BACK, parameters)).fetchone()
        if found is None:  # there is no mark yet, or another process looks
            await connection.execute(_FIRST, parameters)
            return
        back = found == (True,)
        if back:
            await connection.execute(_DUE, parameters)
        await connection.execute(_MARK, {**parameters, "back": back})
