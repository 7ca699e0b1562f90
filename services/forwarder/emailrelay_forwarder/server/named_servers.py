"""Limits the share of this process that is used for servers which only envelopes name.

A filter (``mx:``) may name any number of servers, and many of them may be silent. Mail for others
must not wait for them.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager

from emailrelay.reply import Reply
from emailrelay_forwarder.server.pause import TurnedAway
from emailrelay_forwarder.session.session_error import SessionStep
from emailrelay_forwarder.session.smtp_client import Session

PATIENCE = 1.0
"""Seconds that a message waits for a place: most servers answer in less."""
PROBES = 50
"""Probes at a time: a silent server keeps one busy for minutes."""


class NoPlace(TurnedAway):
    """Too many messages wait for servers already; another server of the route would not help."""


class NamedServers:
    """The places for messages that wait for a server without a session, and the probes."""

    def __init__(self, places: int) -> None:
        self._most = places
        self._places = asyncio.Semaphore(places)
        self._probes = asyncio.Semaphore(PROBES)

    @asynccontextmanager
    async def place(self, turned_away: Callable[[Reply], TurnedAway]) -> AsyncGenerator[None]:
        """Take a place for the time of the block. ``turned_away`` notes that there is none.

        Raises:
            NoPlace: there is none in time.

        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._places.acquire()
        except TimeoutError as error:
            why = f"this relay waits: {self._most} messages wait for servers without a connection"
            reply = turned_away(Reply(451, f"4.4.5 {why}")).reply
            raise NoPlace(SessionStep.CONNECT, reply, ours=True) from error
        try:
            yield
        finally:
            self._places.release()

    async def probe(self, open_session: Callable[[], Coroutine[None, None, Session]]) -> Session:
        """Open a session when few enough others are being opened by probes."""
        async with self._probes:
            return await open_session()
