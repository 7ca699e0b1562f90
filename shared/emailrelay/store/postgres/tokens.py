"""The OAuth2 tokens of accounts in the database; the turn to renew them is a lease."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import cast
from uuid import UUID, uuid4

from emailrelay.errors import StoreError
from emailrelay.events.event import report_nothing
from emailrelay.store.postgres.link import place
from emailrelay.store.postgres.link.connections import DatabaseConnections, pauses
from emailrelay.store.postgres.link.trouble import Busy, Lost
from emailrelay.store.tokens import TokenStore, TokenTurn

_TURN = 120.0
"""Seconds that a turn lasts at most; a renewal takes less."""
_READ = "select octets from emailrelay.token where name = %(name)s"
_TAKE = """
insert into emailrelay.token (name, lease_holder, lease_until)
values (%(name)s, %(holder)s, statement_timestamp() + make_interval(secs => %(turn)s))
on conflict (name) do update set lease_holder = excluded.lease_holder,
    lease_until = excluded.lease_until
where token.lease_until is null or token.lease_until <= statement_timestamp() returning name
"""
_KEEP = """
update emailrelay.token set octets = %(octets)s where name = %(name)s and lease_holder = %(holder)s
"""
_END = """
update emailrelay.token set lease_holder = null, lease_until = null
where name = %(name)s and lease_holder = %(holder)s
"""


class PostgresTokens(TokenStore):
    """See ``TokenStore``. It keeps no connection between two calls: they are hours apart."""

    def __init__(self, url: str) -> None:
        self._place = place.parse(url)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[DatabaseConnections]:
        connections = DatabaseConnections(self._place, report_nothing)
        try:
            yield connections
        finally:
            await connections.close()

    async def read(self, account: str) -> bytes | None:
        """See ``TokenStore.read``."""
        async with (
            self._connected() as connections,
            connections.lend("read the tokens") as connection,
            connection.cursor(binary=True) as cursor,
        ):
            await cursor.execute(_READ, {"name": account})
            found = await cursor.fetchone()
        return None if found is None else cast("bytes | None", found[0])

    @asynccontextmanager
    async def turn(self, account: str) -> AsyncGenerator[TokenTurn | None]:
        """See ``TokenStore.turn``."""
        async with self._connected() as connections:
            holder = uuid4()
            named = {"name": account, "holder": holder}
            try:
                async with connections.lend("take the turn of an account") as connection:
                    cursor = await connection.execute(_TAKE, {**named, "turn": _TURN})
                    taken = await cursor.fetchone() is not None
                yield _Turn(connections, account, holder) if taken else None
            finally:
                await asyncio.shield(_end(connections, named))


async def _end(connections: DatabaseConnections, named: Mapping[str, object]) -> None:
    with contextlib.suppress(StoreError):  # it ends by itself
        async with connections.lend("end the turn of an account") as connection:
            await connection.execute(_END, named)


class _Turn(TokenTurn):
    """See ``TokenTurn``."""

    def __init__(self, connections: DatabaseConnections, account: str, holder: UUID) -> None:
        self._connections, self._account, self._holder = connections, account, holder

    async def keep(self, octets: bytes) -> None:
        """See ``TokenTurn.keep``; while the database is away it is tried for half a turn.

        The provider may have ended the tokens before these: without them, a person must sign in.
        """
        end = asyncio.get_running_loop().time() + _TURN / 2
        for pause in pauses():
            try:
                await self._keep(octets)
            except (Lost, Busy):
                if asyncio.get_running_loop().time() >= end:
                    raise
            else:
                return
            await asyncio.sleep(pause)

    async def _keep(self, octets: bytes) -> None:
        async with self._connections.lend("keep new tokens") as connection:
            cursor = await connection.execute(
                _KEEP, {"name": self._account, "holder": self._holder, "octets": octets}
            )
            if cursor.rowcount != 1:
                raise StoreError("keep new tokens", "another process is renewing them now")
