"""The stage at which mail enters the store if no receiver brings it."""

from emailrelay.stage import Stage
from emailrelay.store.postgres.link.connections import DatabaseConnection

_GET = "select stage from emailrelay.entrance"
_SET = """
insert into emailrelay.entrance (only_row, stage) values (true, %(stage)s)
on conflict (only_row) do update set stage = excluded.stage where entrance.stage <> excluded.stage
"""


async def entrance(connection: DatabaseConnection) -> Stage:
    """See ``Store.entrance``."""
    found = await (await connection.execute(_GET)).fetchone()
    return Stage.READY if found is None else Stage(str(found[0]))


async def set_entrance(connection: DatabaseConnection, stage: Stage) -> None:
    """See ``Store.set_entrance``."""
    await connection.execute(_SET, {"stage": stage.value})
