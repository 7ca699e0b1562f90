"""A store whose connections to its database can be cut, and are healed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.contract.conftest import PostgresOpener
from tests.contract.database_proxy import DatabaseProxy
from tests.contract.mail import (
    PATIENCE,
)

from emailrelay.errors import StoreError
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store


@asynccontextmanager
async def cut_off(database: PostgresOpener) -> AsyncGenerator[tuple[Store, DatabaseProxy]]:
    """Open a store whose connections can be lost."""
    async with DatabaseProxy.before(database.server.directory) as proxy:
        url = database.server.url(database.name, host=str(proxy.directory))
        async with open_store(url, report=database.reports.append) as store:
            yield store, proxy


async def back(store: Store) -> None:
    """Wait until the store has reached its database again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await store.entrance()
            except StoreError:
                await asyncio.sleep(0.01)
            else:
                return
