"""The limits of a route over all hosts: slots with leases, and permits in a ring."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias, cast
from uuid import UUID, uuid4

from emailrelay.errors import RelayError, StoreError
from emailrelay.routes import Rate
from emailrelay.store.limits import RouteLimits, Slot
from emailrelay.store.postgres.link.database import Database

_LOOK = 1.0
"""Seconds between looks for processes that wait for a slot held here."""
_SHORTEST, _LONGEST = 0.02, 0.5
_WISH = 10.0
"""Seconds after which a wish counts no more that its process has not renewed."""

_Key: TypeAlias = tuple[str, str]
_waiting: Counter[_Key] = Counter()
"""By database and route: the tasks of this process that wait. They are seen without a question."""
_releases: set["asyncio.Task[None]"] = set()
"""Slots of this process being given back: who asks next waits for them."""

_TAKE = """
insert into emailrelay.slot (route, n, holder, lease_until)
select %(route)s, free.n, %(holder)s, statement_timestamp() + make_interval(secs => %(lease)s)
from generate_series(0, %(most)s - 1) as free (n)
where not exists (select 1 from emailrelay.slot s
    where s.route = %(route)s and s.n = free.n and s.lease_until > statement_timestamp())
order by free.n limit 1
on conflict (route, n) do update set holder = excluded.holder, lease_until = excluded.lease_until
where slot.lease_until <= statement_timestamp() returning n
"""
_FULL = """
select count(*) >= %(most)s from emailrelay.slot
where route = %(route)s and n < %(most)s and lease_until > statement_timestamp()
"""
_GIVE_BACK = "delete from emailrelay.slot where holder = %(holder)s and route = %(route)s"
_RENEW = """
update emailrelay.slot set lease_until = statement_timestamp() + make_interval(secs => %(lease)s)
where holder = any(%(holders)s)
"""
_WISH_FOR = """
insert into emailrelay.slot_wish (route, holder, wish_until)
values (%(route)s, %(holder)s, statement_timestamp() + make_interval(secs => %(wish)s))
on conflict (route, holder) do update set wish_until = excluded.wish_until
"""
_WISH_NO_MORE = "delete from emailrelay.slot_wish where holder = %(holder)s and route = %(route)s"
_WISHED = """
select distinct route from emailrelay.slot_wish where route = any(%(routes)s)
and holder <> %(process)s and wish_until > statement_timestamp()
"""
_RATE = """
insert into emailrelay.rate (route, messages, seconds) values (%(route)s, %(messages)s, %(seconds)s)
on conflict (route) do nothing
"""
_RATE_NOW = "select messages, seconds, next from emailrelay.rate where route = %(route)s for update"
_NEW_RATE = """
update emailrelay.rate set messages = %(messages)s, seconds = %(seconds)s, next = 0
where route = %(route)s
"""
_FORGET = "delete from emailrelay.permit where route = %(route)s"
_GIVEN = """
select given_at, extract(epoch from statement_timestamp())::float8
from emailrelay.permit where route = %(route)s and n = %(n)s
"""
_PERMIT = """
insert into emailrelay.permit (route, n, given_at)
values (%(route)s, %(n)s, coalesce(%(now)s, extract(epoch from statement_timestamp())::float8))
on conflict (route, n) do update set given_at = excluded.given_at
"""
_NEXT = "update emailrelay.rate set next = %(next)s where route = %(route)s"


class Slots:
    """The slots that one process holds, and one task that renews them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.lease = database.connections.place.lease
        self._held: dict[UUID, str] = {}
        self._wished: set[str] = set()
        self._keeping: asyncio.Task[None] | None = None

    def key(self, route: str) -> _Key:
        """Return what names a route among those of all databases."""
        return self.database.connections.place.shown, route

    def hold(self, route: str, holder: UUID) -> None:
        """Renew a slot from now on."""
        self._held[holder] = route
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep())

    def wanted(self, route: str) -> bool:
        """Return whether a task of this process, or another process, waits for a slot."""
        return _waiting[self.key(route)] > 0 or route in self._wished

    def give_back(self, route: str, holder: UUID) -> None:
        """Give a slot back, soon."""
        if self._held.pop(holder, None) is not None:
            task = asyncio.create_task(self._give_back(route, holder))
            _releases.add(task)
            task.add_done_callback(_releases.discard)

    async def _give_back(self, route: str, holder: UUID) -> None:
        try:
            async with self.database.connections.lend("give a slot back") as connection:
                await connection.execute(_GIVE_BACK, {"route": route, "holder": holder})
        except RelayError as error:  # it is free when its lease ends
            self.database.trouble("give a slot back", error)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while self._held:
            await asyncio.sleep(min(_LOOK, self.lease / 3))
            renew = loop.time() - renewed >= self.lease / 3
            try:
                await self._look(renew=renew)
            except RelayError as error:
                self.database.refused("look after slots", error)
            else:
                renewed = loop.time() if renew else renewed

    async def _look(self, *, renew: bool) -> None:
        async with self.database.connections.lend("look after slots") as connection:
            if renew:
                holders = list(self._held)
                await connection.execute(_RENEW, {"lease": self.lease, "holders": holders})
            cursor = await connection.execute(
                _WISHED,
                {"routes": list(set(self._held.values())), "process": self.database.process},
            )
            self._wished = {str(route) for (route,) in await cursor.fetchall()}

    async def close(self) -> None:
        """Give all slots back."""
        for holder, route in list(self._held.items()):
            self.give_back(route, holder)
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))
        await released()


async def released() -> None:
    """Wait for the slots that are being given back by this process."""
    loop = asyncio.get_running_loop()
    if under_way := [task for task in _releases if task.get_loop() is loop]:
        await asyncio.wait(under_way)


class PostgresLimits(RouteLimits):
    """See ``RouteLimits``."""

    def __init__(self, slots: Slots, route: str) -> None:
        self._slots, self._route = slots, route
        self._database = slots.database

    async def slot(self, most: int, *, within: float) -> Slot | None:
        """See ``RouteLimits.slot``."""
        await released()
        slot = await self._try(most)
        if slot is not None or within <= 0:
            return slot
        key = self._slots.key(self._route)
        _waiting[key] += 1
        try:
            async with asyncio.timeout(within):
                return await self._wait(most)
        except TimeoutError:
            return None
        finally:
            _waiting[key] -= 1
            await asyncio.shield(self._wish_no_more())

    async def _wait(self, most: int) -> Slot:
        loop = asyncio.get_running_loop()
        pause, wished = _SHORTEST, 0.0
        while True:
            if loop.time() - wished > _WISH / 3 or not wished:
                await self._wish()
                wished = loop.time()
            await asyncio.sleep(pause * random.uniform(0.7, 1.0))  # noqa: S311 - it spreads load
            pause = min(pause * 1.5, _LONGEST)
            slot = await self._try(most)
            if slot is not None:
                return slot

    async def _try(self, most: int) -> Slot | None:
        holder = uuid4()
        parameters = {
            "route": self._route,
            "most": most,
            "holder": holder,
            "lease": self._slots.lease,
        }
        taking = asyncio.ensure_future(self._take(parameters, holder))
        try:
            taken = await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(_given_up)
            raise
        return taken

    async def _take(self, parameters: Mapping[str, object], holder: UUID) -> Slot | None:
        async with self._database.connections.lend("take a slot") as connection:
            while True:
                cursor = await connection.execute(_TAKE, parameters)
                if await cursor.fetchone() is not None:
                    break
                # Another process may have taken the same one at the same time: there may be others.
                cursor = await connection.execute(_FULL, parameters)
                if await cursor.fetchone() == (True,):
                    return None
        self._slots.hold(self._route, holder)
        return _Slot(self._slots, self._route, holder)

    async def _wish(self) -> None:
        parameters = {"route": self._route, "holder": self._database.process, "wish": _WISH}
        async with self._database.connections.lend("wait for a slot") as connection:
            await connection.execute(_WISH_FOR, parameters)

    async def _wish_no_more(self) -> None:
        if _waiting[self._slots.key(self._route)] > 0:
            return
        with contextlib.suppress(StoreError):  # it ends by itself
            async with self._database.connections.lend("wait for a slot") as connection:
                await connection.execute(
                    _WISH_NO_MORE, {"route": self._route, "holder": self._database.process}
                )

    async def permit(self, rate: Rate) -> float:
        """See ``RouteLimits.permit``."""
        route = {"route": self._route}
        wanted = {**route, "messages": rate.messages, "seconds": rate.seconds}
        async with self._database.connections.transact("count a message") as connection:
            await connection.execute(_RATE, wanted)
            found = await (await connection.execute(_RATE_NOW, route)).fetchone()
            messages, seconds, turn = found or (0, 0.0, 0)
            if (messages, seconds) != (rate.messages, rate.seconds):
                await connection.execute(_NEW_RATE, wanted)
                await connection.execute(_FORGET, route)
                turn = 0
            n = cast("int", turn)
            cursor = await connection.execute(_GIVEN, {**route, "n": n})
            oldest = await cursor.fetchone()
            given = self._database.clock.parameter
            if oldest is not None:
                then = cast("float", oldest[0])
                now = cast("float", oldest[1]) if given is None else given
                if then <= now < then + rate.seconds:
                    return min(then + rate.seconds - now, rate.seconds)
            await connection.execute(_PERMIT, {**route, "n": n, "now": given})
            await connection.execute(_NEXT, {**route, "next": (n + 1) % rate.messages})
        return 0.0


def _given_up(taking: "asyncio.Future[Slot | None]") -> None:
    """Give a slot back that came too late."""
    if not taking.cancelled() and taking.exception() is None and (slot := taking.result()):
        slot.release()


class _Slot(Slot):
    """See ``Slot``."""

    def __init__(self, slots: Slots, route: str, holder: UUID) -> None:
        self._slots, self._route, self._holder = slots, route, holder

    def wanted(self) -> bool:
        """See ``Slot.wanted``."""
        return self._slots.wanted(self._route)

    def release(self) -> None:
        """See ``Slot.release``."""
        self._slots.give_back(self._route, self._holder)
