"""The limits of one route: connections and messages, together with all other processes."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import NoReturn

from emailrelay import routes
from emailrelay.errors import StoreError
from emailrelay.events import RateReached, Report, StoreTrouble
from emailrelay.reply import Reply
from emailrelay.store.limits import RouteLimits, Slot
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_error import NoSlot, NotYet, SessionError, SessionStep
from emailrelay_forwarder.session.smtp_client import Session

PATIENCE = 10.0
"""Seconds to wait for a connection that others have: longer than any of them is kept without use."""
SLICE = 1.0
"""Seconds that a connection is kept though another process waits for it: opening one has its price."""
SHORT = 2.0
"""Seconds that a message waits for its turn while it is claimed; for longer it is deferred."""


class RouteGate:
    """What must be had before a connection is made, or a message is sent, on one route."""

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
        """Open a session when a connection is free; it is free again when the session ends.

        Raises:
            NoSlot: none is, nor became so in time; where this server has some already, at once.
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
        except BaseException:  # cancelled, too: a place that nobody gives back is lost
            place.release()
            raise
        session.slot = place
        return session

    async def permit(self) -> None:
        """Return when one more message may be sent.

        Raises:
            NotYet: not within a few seconds.

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
        """Turn a message away until its turn: each gets one of its own, so that they do not all come at once."""
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
    """A slot that counts how many this process has, and is not given up the moment it was got."""

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
