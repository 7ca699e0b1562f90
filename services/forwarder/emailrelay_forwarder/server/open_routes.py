"""The routes in use: the servers of each, with their sessions, and its limits."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass

from emailrelay import routes
from emailrelay.events.event import Report
from emailrelay.queue_id import QueueId
from emailrelay.store.limits import RouteLimits
from emailrelay_forwarder.server.gate import RouteGate
from emailrelay_forwarder.server.named_servers import NamedServers
from emailrelay_forwarder.server.pause import TurnedAway
from emailrelay_forwarder.server.route_servers import servers
from emailrelay_forwarder.server.smarthost import Smarthost
from emailrelay_forwarder.server.waiting_mail import OnRecovery
from emailrelay_forwarder.session.policy import Policy
from emailrelay_forwarder.session.route import NextServer, NoRoute
from emailrelay_forwarder.session.smtp_client import Session


@dataclass(frozen=True, slots=True)
class OpenRoute:
    """One route: its servers, the preferred one first, and its limits."""

    smarthosts: tuple[Smarthost, ...]
    gate: RouteGate

    @property
    def idle(self) -> bool:
        """True if this route can be forgotten without loss."""
        return all(smarthost.idle for smarthost in self.smarthosts)

    @property
    def trouble(self) -> str:
        """Why none of the servers can be used now; empty: one can."""
        found = [smarthost.pause.trouble for smarthost in self.smarthosts]
        return found[0] if all(found) else ""

    def turn_away_if_paused(self, message: QueueId) -> None:
        """Raise TurnedAway if there would be no session with any of the servers now.

        The message is due again when the first of them is back.
        """
        if all(smarthost.pause.active for smarthost in self.smarthosts):
            for smarthost in self.smarthosts:
                smarthost.pause.keep(message)
            self.smarthosts[-1].pause.check()

    def forget(self, message: QueueId) -> None:
        """Let a message wait for none of the servers: one has answered for it."""
        for smarthost in self.smarthosts:
            smarthost.pause.forget(message)

    async def tried_now(self) -> None:
        """Probe the servers in turn until one can be used. See ``ServerPause.tried_now``."""
        for smarthost in self.smarthosts:
            if self.trouble:
                await smarthost.pause.tried_now()


class OpenRoutes:
    """All routes in use. ``recovered``: see ``ServerPause``; ``places``: see ``NamedServers``."""

    def __init__(
        self,
        open_session: Callable[[NextServer], Coroutine[None, None, Session]],
        *,
        most: int,
        policy: Policy,
        limits: Callable[[str], RouteLimits],
        report: Report,
        clock: Callable[[], float],
        recovered: OnRecovery,
        places: int,
    ) -> None:
        self._open_session = open_session
        self._most = most
        self._policy = policy
        self._limits = limits
        self._report = report
        self._clock = clock
        self._recovered = recovered
        self._named = NamedServers(places)
        self._open: dict[routes.Route, OpenRoute] = {}

    def route(self, group: routes.RouteGroup) -> OpenRoute:
        """Return the servers and limits of a group's route.

        Raises:
            NoRoute: there is none, or the text of one of its servers is invalid.

        """
        route = group.route
        if route is None:
            raise NoRoute(f"there is no route for <{group.recipients[0]}>: {group.why}")
        found = self._open.get(route)
        if found is None:
            # A filter may name any number of servers; unused ones are forgotten.
            for old in [r for r, known in self._open.items() if known.idle]:
                del self._open[old]
            found = self._open[route] = self._new(route)
        return found

    def turn_away_if_paused(self, groups: list[routes.RouteGroup], message: QueueId) -> None:
        """Raise TurnedAway if none of a message's groups has a server that can be used now.

        A group without a route does not count: a filter may still name its server.
        """
        trouble: TurnedAway | None = None
        for group in groups:
            try:
                self.route(group).turn_away_if_paused(message)
            except TurnedAway as turned_away:
                trouble = turned_away
            except NoRoute:
                return
            else:
                return
        if trouble is not None:
            raise trouble

    @property
    def paused(self) -> bool:
        """True if the mail of some server is turned away now; it becomes due again later."""
        return any(smarthost.pause.active for smarthost in self._smarthosts())

    def troubles(self) -> dict[str, str]:
        """Return, for each route in use, why no server of it can be used; empty: one can."""
        found = dict[str, str]()
        for route, opened in self._open.items():
            # Routes to the servers that envelopes name share one name.
            found[route.name] = found.get(route.name, "") or opened.trouble
        return found

    @property
    def sessions(self) -> int:
        """The open sessions with all servers."""
        return sum(smarthost.sessions for smarthost in self._smarthosts())

    def forget(self, message: QueueId) -> None:
        """Let a message wait for no server: it is gone."""
        for smarthost in self._smarthosts():
            smarthost.pause.forget(message)

    def try_now(self) -> None:
        """End the pauses of all servers."""
        for smarthost in self._smarthosts():
            smarthost.pause.try_now()

    async def close(self) -> None:
        """Close the sessions with all servers."""
        await asyncio.gather(*(smarthost.close() for smarthost in self._smarthosts()))

    def _smarthosts(self) -> Iterator[Smarthost]:
        return (smarthost for route in self._open.values() for smarthost in route.smarthosts)

    def _new(self, route: routes.Route) -> OpenRoute:
        gate = RouteGate(
            route,
            self._limits(route.name),
            self._open_session,
            report=self._report,
            clock=self._clock,
        )
        most = min(self._most, route.connections or self._most)
        return OpenRoute(
            tuple(
                Smarthost(
                    server,
                    gate.open,
                    most=most,
                    report=self._report,
                    recovered=self._recovered,
                    named=self._named if route.name == routes.ADDRESS else None,
                )
                for server in servers(route, self._policy)
            ),
            gate,
        )
