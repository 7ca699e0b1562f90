"""The facts of the overview: totals, rates, services, routes, accounts and room."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emailrelay.errors import RelayError
from emailrelay.process_state import AccountState, ProcessState
from emailrelay.queue.grouping import Grouping, MessageGroup
from emailrelay.queue.state import State
from emailrelay.queue.totals import Totals
from emailrelay.service_health import Found, HealthAnswer, does_its_job
from emailrelay.service_statuses import statuses
from emailrelay_console.mail.page_selection import PageSelection
from emailrelay_console.mail.queue import Queue
from emailrelay_console.mail.queue_index import UNREAD, IndexState
from emailrelay_console.mail.traffic import Traffic, TrafficCounts

_KEPT = 1.0
"""Seconds for which the same facts are given again."""
_MOST_ROUTES = 20
_MOST_REPLIES = 5
_WAITING = PageSelection(states=frozenset({State.UNFILTERED, State.READY, State.DEFERRED}))


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFacts:
    """A route: the mail that waits for it, and its state as the forwarder of this host says."""

    name: str
    trouble: str = ""
    waiting: MessageGroup | None = None
    reply: str = ""
    """The most frequent last reply of the mail that waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewFacts:
    """See the module."""

    at: float
    """Seconds since 1970."""
    index: IndexState
    totals: Mapping[str, Totals]
    traffic: TrafficCounts
    services: Mapping[str, HealthAnswer]
    """Of this host; none: it has no runtime directory."""
    routes: Sequence[RouteFacts]
    accounts: Mapping[str, AccountState]
    replies: Sequence[MessageGroup]
    room: tuple[int, int] | None
    """Octets of free room and of all room."""
    trouble: str


class Overview:
    """Gathers the facts."""

    def __init__(
        self, queue: Queue, traffic: Traffic, runtime_dir: Path | None, monitored: Sequence[str]
    ) -> None:
        self._queue, self._traffic = queue, traffic
        self._runtime_dir, self._monitored = runtime_dir, monitored
        self._gathering = asyncio.Lock()
        self._latest: OverviewFacts | None = None

    async def facts(self, now: float) -> OverviewFacts:
        """Return the facts at ``now`` (seconds since 1970), or those of a moment before."""
        async with self._gathering:  # once for all who ask
            if self._latest is None or not 0 <= now - self._latest.at < _KEPT:
                self._latest = await self._gather(now)
            return self._latest

    async def _gather(self, now: float) -> OverviewFacts:
        index, found = await self._queue.state(), await asyncio.to_thread(self._statuses)
        states = [
            process.state
            for each in found.values()
            if not isinstance(each, str)
            for process in each.processes
        ]
        room, trouble = None, self._queue.trouble
        try:
            room = await self._queue.room()
        except (RelayError, OSError) as error:
            trouble = trouble or str(error)
        replies = await self._queue.groups(PageSelection(), Grouping.REPLY, _MOST_REPLIES + 1)
        judged = {name: does_its_job(each, time.monotonic()) for name, each in found.items()}
        return OverviewFacts(
            at=now,
            index=index,
            totals=await self._queue.totals(),
            traffic=await self._traffic.counts(),
            services=judged,
            routes=await self._routes(states, replies),
            accounts={name: each for state in states for name, each in state.accounts.items()},
            replies=replies,
            room=room,
            trouble=trouble,
        )

    def _statuses(self) -> Mapping[str, Found]:
        return {} if self._runtime_dir is None else statuses(self._runtime_dir, self._monitored)

    async def _routes(
        self, states: Sequence[ProcessState], replies: Sequence[MessageGroup]
    ) -> list[RouteFacts]:
        troubles = dict[str, str]()
        for state in states:
            for name, trouble in state.routes.items():
                troubles[name] = troubles.get(name) or trouble
        found = await self._queue.groups(_WAITING, Grouping.ROUTE, _MOST_ROUTES)
        waiting = {group.group: group for group in found if group.group not in ("", UNREAD)}
        return [
            RouteFacts(
                name=name,
                trouble=troubles.get(name, ""),
                waiting=waiting.get(name),
                reply=await self._reply(name, waiting, replies),
            )
            for name in sorted({*troubles, *waiting})[:_MOST_ROUTES]
        ]

    async def _reply(
        self, route: str, waiting: Mapping[str, MessageGroup], replies: Sequence[MessageGroup]
    ) -> str:
        if route not in waiting:
            return ""
        found = replies
        if len(waiting) > 1:
            found = await self._queue.groups(replace(_WAITING, route=route), Grouping.REPLY, 2)
        return next((each.group for each in found if each.group and each.group != UNREAD), "")
