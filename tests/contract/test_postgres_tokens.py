"""New tokens are kept although the database is away for a moment."""

import asyncio
from pathlib import Path

from tests.contract.conftest import PostgresOpener
from tests.contract.database_proxy import DatabaseProxy
from tests.contract.mail import PATIENCE

from emailrelay.store.chooser import open_tokens


async def test_new_tokens_are_kept_although_the_database_goes_away(
    database: PostgresOpener, tmp_path: Path
) -> None:
    async with DatabaseProxy.before(database.server.directory) as proxy:
        tokens = open_tokens(
            database.server.url(database.name, host=str(proxy.directory)), tmp_path
        )
        async with asyncio.timeout(PATIENCE), tokens.turn("office") as turn:
            assert turn is not None
            proxy.refuses = True
            proxy.cut()
            before = proxy.connections
            keeping = asyncio.create_task(turn.keep(b"new"))
            while proxy.connections == before and not keeping.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            proxy.refuses = False
            await keeping
        assert await tokens.read("office") == b"new"
