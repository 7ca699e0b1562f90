"""The limits of one route for connections and messages, shared by all processes."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import NoReturn

from emailrelay import routes
from emailrelay.errors import StoreError
from emailrelay.events.event import Report
from emailrelay.events.servers import RateReached
from emailrelay.events.store import StoreTrouble
from emailrelay.reply import Reply
from emailrelay.store.limits import RouteLimits, Slot
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_error import NoSlot, NotYet, SessionError, SessionStep
from emailrelay_forwarder.session.smtp_client import Session

PATIENCE = 10.0
"""Seconds to wait for a connection of another process: longer than its sessions stay idle."""
SLICE = 1.0
"""Seconds that a process keeps a connection although another waits for it: opening one is
costly."""
SHORT = 2.0
"""Seconds that a claimed message waits for its turn; for a longer wait it is deferred."""


class RouteGate:
    """Gives permission to open a connection or to send a message on one route."""

    def __init__(
        self,
        route: routes.Route,
        limits: RouteLimits,
        open_session: Callable[[NextServer], Coroutine[None, None, Session]],
        *,
        report: Report,
        clock: Callable[[], float],
    ) -> None:
        self._route = route
        self._limits = limits
        self._open_session = open_session
        self._report = report
        self._clock = clock
        self._places: Counter[NextServer] = Counter()
        self._next_turn: float | None = None

    async def open(self, server: NextServer) -> Session:
        """Open a session when a connection is free; the connection is free again when it ends.

        Raises:
            NoSlot: none is free in time. If this server has one already, there is no wait.
            SessionError: as ``opening.open_session``.

        """
        most = self._route.connections
        if most is None:
            return await self._open_session(server)
        try:
            within = 0.0 if self._places[server] else PATIENCE
            slot = await self._limits.slot(most, within=within)
        except StoreError as error:
            self._cannot(error)
        if slot is None:
            text = (
                f"this relay waits: all {most} connections of route {self._route.name} are in use"
            )
            raise NoSlot(text)
        self._places[server] += 1
        place = _Place(slot, lambda: self._places.subtract([server]))
        try:
            session = await self._open_session(server)
        except BaseException:  # cancelled as well: a place that is not given back is lost
            place.release()
            raise
        session.slot = place
        return session

    async def permit(self) -> None:
        """Wait until one more message may be sent.

        Raises:
            NotYet: that takes more than a few seconds.

        """
        rate = self._route.rate
        if rate is None:
            return
        try:
            while wait := await self._limits.permit(rate):
                if wait > SHORT:
                    self._not_yet(rate, wait)
                await asyncio.sleep(wait)
        except StoreError as error:
            self._cannot(error)
        self._next_turn = None

    def _not_yet(self, rate: routes.Rate, wait: float) -> NoReturn:
        """Defer a message until its turn.

        Each gets its own, so that they do not all come at once.
        """
        soonest = self._clock() + wait
        if self._next_turn is None:
            self._report(RateReached(route=self._route.name, rate=str(rate), again=soonest))
            self._next_turn = soonest
        else:
            self._next_turn = max(self._next_turn + rate.seconds / rate.messages, soonest)
        text = f"4.4.5 this relay waits: its route {self._route.name} sends at most {rate}"
        raise NotYet(Reply.of(451, text), self._next_turn)

    def _cannot(self, error: StoreError) -> NoReturn:
        self._report(
            StoreTrouble(doing=f"keeping to {self._route.name}'s limits", reason=str(error))
        )
        raise SessionError(
            SessionStep.CONNECT, Reply(451, "4.3.0 this relay cannot look up its limits"), ours=True
        ) from error


class _Place(Slot):
    """A slot that this process counts, and keeps for at least ``SLICE`` seconds."""

    def __init__(self, slot: Slot, released: Callable[[], None]) -> None:
        self._slot: Slot | None = slot
        self._released = released
        self._since = asyncio.get_running_loop().time()

    def wanted(self) -> bool:
        """See ``Slot.wanted``."""
        if self._slot is None or asyncio.get_running_loop().time() < self._since + SLICE:
            return False
        return self._slot.wanted()

    def release(self) -> None:
        """See ``Slot.release``."""
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()
            self._released()
