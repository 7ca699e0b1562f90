"""The sessions being opened with one server, and the messages that wait for a session.

An opening can take long: an address does not answer, or a server greets late. A message that waits
for one takes an idle session as soon as there is one; the opening goes on for the next message.
"""

import asyncio
from collections.abc import Callable, Coroutine

from emailrelay_forwarder.session.smtp_client import Session


class Openings:
    """The openings under way.

    ``unclaimed`` gets each opening that ended, well or badly, while no message waited for it.
    """

    def __init__(
        self,
        open_session: Callable[[], Coroutine[None, None, Session]],
        unclaimed: Callable[[asyncio.Task[Session]], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._open_session = open_session
        self._unclaimed = unclaimed
        self._under_way: set[asyncio.Task[Session]] = set()
        self._spare: list[asyncio.Task[Session]] = []
        """Openings under way that no message waits for."""
        self._first: asyncio.Task[Session] | None = None
        self._listeners: list[asyncio.Future[None]] = []

    @property
    def idle(self) -> bool:
        """True if no opening is under way."""
        return not self._under_way

    @property
    def spare(self) -> int:
        """The number of openings under way that no message waits for."""
        return len(self._spare)

    async def session(
        self, at_hand: Callable[[], Session | None], check: Callable[[], None], *, first: bool
    ) -> Session:
        """Return an idle session as soon as there is one, or else a new one.

        Args:
            at_hand: returns an idle session, if there is one; called again at each ``news``.
            check: raises an error if no session may be opened.
            first: there is no session yet, so only one such message at a time tries the server, and
                the others wait for the result.

        Raises:
            SessionError: of ``check``, or of the opening that this message waited for.

        """
        opening: asyncio.Task[Session] | None = None
        try:
            while True:
                if opening is not None and opening.done():
                    ended, opening = opening, None
                    return ended.result()
                if session := at_hand():
                    return session
                if opening is None:
                    check()
                    opening = self._join(first=first)
                await self._next_news()
        finally:
            if opening is not None:
                self._leave(opening)

    def news(self) -> None:
        """Wake all waiting messages: a session is idle now, or an opening has ended."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            if not listener.done():
                listener.set_result(None)

    async def close(self) -> None:
        """Cancel the openings that no message waits for."""
        spare = list(self._spare)
        for opening in spare:
            opening.cancel()
        if spare:
            await asyncio.wait(spare)

    def _join(self, *, first: bool) -> asyncio.Task[Session] | None:
        """Take an opening without a waiting message, or begin one.

        None: another message goes first.
        """
        if self._spare:
            return self._spare.pop()
        if first and self._first is not None:
            return None
        opening = self._loop.create_task(self._open_session())
        if first:
            self._first = opening
        self._under_way.add(opening)
        opening.add_done_callback(self._ended)
        return opening

    def _leave(self, opening: asyncio.Task[Session]) -> None:
        """Leave the result of an opening to the next message that needs one."""
        if opening.done():
            self.news()
            self._unclaimed(opening)
        else:
            self._spare.append(opening)

    def _ended(self, opening: asyncio.Task[Session]) -> None:
        self._under_way.discard(opening)
        if opening is self._first:
            self._first = None
        self.news()
        if opening in self._spare:
            self._spare.remove(opening)
            self._unclaimed(opening)

    async def _next_news(self) -> None:
        listener = self._loop.create_future()
        self._listeners.append(listener)
        await listener
