"""The leases of one process: renewed at a third of their length, checked before each final dot."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from emailrelay.ack import Ack
from emailrelay.errors import RelayError, StoreError
from emailrelay.store.postgres.link.batch import Batch
from emailrelay.store.postgres.link.connections import PATIENCE
from emailrelay.store.postgres.link.database import Database

_RENEW = """
update emailrelay.message m
set lease_until = statement_timestamp() + make_interval(secs => %(lease)s)
from unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) as d (id, token)
where m.id = d.id and m.lease_token = d.token and m.lease_until is not null returning m.id
"""
# The doubt needs no sync: if the server loses it, the forwarder that lives still settles.
_NO_SYNC = "set local synchronous_commit = off"
_DOT = """
update emailrelay.message m set doubt = d.peer
from unnest(%(ids)s::uuid[], %(tokens)s::bigint[], %(peers)s::text[]) as d (id, token, peer)
where m.id = d.id and m.lease_token = d.token
and m.lease_until > statement_timestamp() + make_interval(secs => %(half)s)
returning m.id, m.lease_token
"""
_WAITS = """
update emailrelay.awaited a set dot = d.peer
from unnest(%(ids)s::uuid[], %(peers)s::text[]) as d (id, peer)
where a.id = d.id and a.reply is null and a.wait_until > statement_timestamp() returning a.id
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to a message until the database gives it to another process."""

    message: UUID
    token: int
    ack: Ack


@dataclass(frozen=True, slots=True)
class _Dot:
    lease: Lease
    peer: str


class Leases:
    """All leases of this process, and one task that renews them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._length = database.connections.place.lease
        self._held: dict[UUID, Lease] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._dots: Batch[_Dot, bool | StoreError] = Batch(self._before_dots)

    def hold(self, lease: Lease) -> None:
        """Renew a lease from now on."""
        self._held[lease.message] = lease
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())

    def drop(self, lease: Lease) -> None:
        """Renew a lease no more."""
        if self._held.get(lease.message) is lease:
            del self._held[lease.message]

    async def before_dot(self, lease: Lease, peer: str) -> bool:
        """Note that the final dot is about to go to ``peer``; see ``Claim.before_dot``."""
        result = await self._dots.do(_Dot(lease, peer))
        if isinstance(result, StoreError):
            raise result
        return result

    async def _before_dots(self, dots: Sequence[_Dot]) -> Sequence[bool | StoreError]:
        parameters = {
            "ids": [dot.lease.message for dot in dots],
            "tokens": [dot.lease.token for dot in dots],
            "peers": [dot.peer for dot in dots],
            "half": self._length / 2,
        }
        waits = [dot for dot in dots if dot.lease.ack is Ack.DELIVERED]
        within = min(PATIENCE, self._length / 2)
        transact = self._database.connections.transact
        async with transact("note a final dot", within) as connection:
            await connection.execute(_NO_SYNC)
            marked = await connection.execute(_DOT, parameters)
            waited = await connection.execute(_WAITS, _waits(waits)) if waits else None
        ours: set[object] = set(await marked.fetchall())
        waiting = {found for (found,) in await waited.fetchall()} if waited else set[object]()
        return [_verdict(dot, ours, waiting) for dot in dots]

    async def _renew(self) -> None:
        while self._held:
            await asyncio.sleep(self._length / 3)
            held = dict(self._held)
            if not held:
                return
            try:
                kept = await self._renewed(list(held.values()))
            except RelayError as error:
                self._database.refused("renew leases", error)
                continue
            for message, lease in held.items():
                if message not in kept:
                    self.drop(lease)

    async def _renewed(self, leases: Sequence[Lease]) -> set[UUID]:
        async with self._database.connections.lend("renew leases") as connection:
            cursor = await connection.execute(
                _RENEW,
                {
                    "lease": self._length,
                    "ids": [lease.message for lease in leases],
                    "tokens": [lease.token for lease in leases],
                },
            )
            return {cast("UUID", found) for (found,) in await cursor.fetchall()}

    async def close(self) -> None:
        """Stop renewing."""
        await self._dots.close()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait((self._renewing,))


def _waits(dots: Sequence[_Dot]) -> dict[str, object]:
    return {"ids": [dot.lease.message for dot in dots], "peers": [dot.peer for dot in dots]}


def _verdict(dot: _Dot, ours: set[object], waiting: set[object]) -> bool | StoreError:
    if (dot.lease.message, dot.lease.token) not in ours:
        return StoreError(
            "deliver a message", "its lease was not renewed in time; another process may have it"
        )
    return dot.lease.ack is not Ack.DELIVERED or dot.lease.message in waiting
