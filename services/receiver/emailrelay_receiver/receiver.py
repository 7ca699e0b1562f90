"""One receiver process: accepts connections until it is told to stop; then drains."""

import asyncio
import socket
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from emailrelay.events.receiving import AcceptTrouble
from emailrelay.listening import BACKLOG, socket_path, written
from emailrelay.process_state import ProcessState
from emailrelay_receiver.clients.peer_address import keep_first_packets
from emailrelay_receiver.context import ReceiverContext
from emailrelay_receiver.session.session import SmtpSession

_FINISH = 3.0
"""Seconds that clients have, once we stop, for the rest of the message they are sending."""
_ACCEPTED_TOGETHER = 4
"""Connections to one address that are accepted in a turn of the loop.

libuv accepts one for each of its handles, so several handles share the socket. With a single one,
clients waited for busy turns of the loop, and their messages came too far apart to share a flush.
"""


class Receiver:
    """The sessions of a process. An ``async with`` block in which clients are served."""

    def __init__(self, context: ReceiverContext, sockets: Iterable[socket.socket]) -> None:
        self.context = context
        """For new clients."""
        self.moved = asyncio.Event()
        """Set when ``context`` was replaced."""
        self._sockets = tuple(sockets)
        self._sessions: set[SmtpSession] = set()
        self._all_gone = asyncio.Event()
        self._accepting = AsyncExitStack()
        self._verifiers = {context.verifier}

    def follow(self, context: ReceiverContext) -> None:
        """Serve new clients by this context; open sessions keep theirs to their end."""
        context.succeed(self.context)
        self._verifiers.add(context.verifier)
        self.context = context
        self.moved.set()

    def state(self) -> ProcessState:
        """Return the state: the sessions, and why mail is refused, if it is."""
        away, room = self.context.store.unavailable(), self.context.room()
        if away is not None:
            trouble = str(away)
        elif room is not None and room < 0:
            trouble = "less room is left than minimum_free: clients get 452"
        else:
            trouble = ""
        places = ", ".join(map(written, self._sockets[:3]))
        more = f" and {len(self._sockets) - 3} more" if len(self._sockets) > 3 else ""
        return ProcessState(
            doing=f"listening on {places}{more}", trouble=trouble, sessions=len(self._sessions)
        )

    async def __aenter__(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._trouble)
        for listening in self._sockets:
            make = partial(self._session, socket_path(listening))
            for _ in range(_ACCEPTED_TOGETHER):
                # A copy: the caller's socket stays open for its other workers.
                own = listening.dup()
                if own.family is socket.AF_UNIX:
                    server: asyncio.AbstractServer = await loop.create_unix_server(
                        make, sock=own, backlog=BACKLOG
                    )
                else:
                    keep_first_packets(own)
                    server = await loop.create_server(make, sock=own, backlog=BACKLOG)
                self._accepting.callback(server.close)

    async def __aexit__(self, *_: object) -> None:
        """Accept no more; give messages under way some time, and drop the rest."""
        await self._accepting.aclose()
        self.context.closing = True
        for session in tuple(self._sessions):
            session.wind_up()
        if not await self._gone_within(_FINISH):
            for session in tuple(self._sessions):
                session.cut()
            # The remaining sessions commit a message: this takes milliseconds and must not be cut.
            await self._gone_within(None)
        for verifier in self._verifiers:
            if verifier is not None:
                await verifier.close()
        if self.context.next_server is not None:
            self.context.next_server.close()
        asyncio.get_running_loop().set_exception_handler(None)

    async def attend(self, connection: socket.socket, stop: asyncio.Event) -> None:
        """Serve a client that is connected already, to the end of its session or until ``stop``."""
        await asyncio.get_running_loop().connect_accepted_socket(
            partial(self._session, ""), connection
        )
        if self._sessions:
            self._all_gone.clear()
            await first_is_set(stop, self._all_gone)

    async def _gone_within(self, seconds: float | None) -> bool:
        if self._sessions:
            self._all_gone.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._all_gone.wait()
            except TimeoutError:
                return False
        return True

    def _session(self, path: str) -> asyncio.BaseProtocol:
        # It counts from ``connected``: a connection that is never made would be waited for in vain.
        session = SmtpSession(
            self.context, path=path, connected=self._sessions.add, ended=self._end
        )
        return session.wire.inlet

    def _trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report that no connection can be accepted: the log bounds repeated events."""
        if not str(context.get("message")).startswith("socket.accept()"):
            loop.default_exception_handler(context)
        else:
            self.context.report(AcceptTrouble(reason=str(context.get("exception"))))

    def _end(self, session: SmtpSession) -> None:
        self._sessions.discard(session)
        if not self._sessions:
            self._all_gone.set()


async def first_is_set(first: asyncio.Event, second: asyncio.Event) -> bool:
    """Wait for either event; return whether the first is set."""
    waiting = [asyncio.create_task(event.wait()) for event in (first, second)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return first.is_set()
