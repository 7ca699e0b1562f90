"""The messages that receivers hand to this process over connections; see ``wake.handing``."""

import asyncio
import os
import secrets
import stat
from collections.abc import Callable
from typing import NamedTuple, cast

from emailrelay.queue_id import QueueId
from emailrelay.running_loop import running_loop
from emailrelay.store.spool.disk.directory import FILE_MODE
from emailrelay.store.spool.message.handed_claim import HandedClaim, opened
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.wake import stream_sockets
from emailrelay.store.spool.wake.handing import TAKES
from emailrelay.store.spool.wake.package import Package, PackageReader, returned

_LOOK = 5.0
"""Seconds between two looks whether the socket still has its name."""
_FRESH = 1.0
"""Seconds after which a look is worth its cost: has the client gone?"""
_MOST_CONNECTIONS = 64
_MOST_PENDING = 256
"""Messages that wait for a free task; further ones go back, and wait in files."""


class _Pending(NamedTuple):
    package: Package
    giver: "_Giving"
    came: float
    """The loop's time."""


class HandedMessages:
    """The socket of one feed, the connections to it, and its unclaimed messages."""

    def __init__(self, spool: Spool, announce: Callable[[QueueId], bool]) -> None:
        """``announce`` makes a message due; False: it does not."""
        self._spool, self._announce = spool, announce
        self._pending: dict[QueueId, _Pending] = {}
        self._connections: set[_Giving] = set()
        self._serving: asyncio.Task[None] | None = None
        self._takes = True

    async def open(self) -> None:
        """Listen. Where no socket can be made, all mail comes in files."""
        ready = asyncio.Event()
        self._serving = asyncio.create_task(self._serve(ready))
        await ready.wait()

    async def _serve(self, ready: asyncio.Event) -> None:
        while True:
            try:
                await self._serve_while_named(ready)
            except OSError:
                ready.set()
                await asyncio.sleep(_LOOK)

    async def _serve_while_named(self, ready: asyncio.Event) -> None:
        directory = self._spool.directories.wake
        # In a sticky spool members of the group may bring mail, and not in a receiver's name.
        sticky = os.fstat(directory.fileno()).st_mode & stat.S_ISVTX
        mode = FILE_MODE & stat.S_IRWXU if sticky else FILE_MODE
        stream_sockets.remove_dead(directory, TAKES)
        name = f"{TAKES}{os.getpid()}.{secrets.token_hex(4)}"
        with stream_sockets.listening(directory, name, mode) as own:
            server = await running_loop().create_unix_server(self._connected, sock=own.opened)
            try:
                ready.set()
                while own.is_there():  # noqa: ASYNC110 - the file system tells nothing by itself
                    await asyncio.sleep(_LOOK)
            finally:
                server.close()

    def _connected(self) -> "_Giving":
        return _Giving(self)

    def claim(self, message: QueueId) -> HandedClaim | None:
        """Claim a message; None: it is not here."""
        pending = self._pending.pop(message, None)
        if pending is None:
            return None
        package, giver, came = pending
        claim = opened(self._spool, package, giver)
        if claim is None:
            giver.give_back(message)
            return None
        try:
            unwanted = running_loop().time() - came > _FRESH and not claim.is_awaited()
        except OSError as error:
            self._spool.trouble(f"claim {message}", error)
            giver.give_back(message)
            return None
        if unwanted:
            claim.withdraw()
            return None
        return claim

    def add(self, giver: "_Giving", package: Package) -> None:
        """Take a message of a connection, or give it back."""
        message = package.message
        room = self._takes and len(self._pending) < _MOST_PENDING
        if room and message not in self._pending:
            self._pending[message] = _Pending(package, giver, running_loop().time())
            if self._announce(message):
                return
            self._pending.pop(message, None)
        giver.give_back(message)

    def begin(self, giver: "_Giving") -> bool:
        """Take a connection; False: there are too many."""
        if len(self._connections) >= _MOST_CONNECTIONS:
            return False
        self._connections.add(giver)
        return True

    def end(self, giver: "_Giving") -> None:
        """Forget a connection and its unclaimed messages."""
        self._connections.discard(giver)
        self._pending = {
            message: pending
            for message, pending in self._pending.items()
            if pending.giver is not giver
        }

    def take_no_more(self) -> None:
        """Give back unclaimed messages, and all that come from now on."""
        self._takes = False
        pending, self._pending = self._pending, {}
        for message, (_, giver, _) in pending.items():
            giver.give_back(message)

    async def close(self) -> None:
        """Stop listening, and give back unclaimed messages."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait((self._serving,))
        self.take_no_more()
        for giver in list(self._connections):
            giver.end_soon()


class _Giving(asyncio.Protocol):
    """The connection of one receiver. See ``Giver``.

    It ends by itself only if no message of it is being worked on: at its end the receiver takes
    them back, and another forwarder may have them.
    """

    def __init__(self, messages: HandedMessages) -> None:
        self._messages = messages
        self._reader = PackageReader()
        self._here: set[QueueId] = set()
        self._back: list[bytes] | None = None
        """What goes back of the octets that are being read. One write: asyncio counts all that
        waits at each write."""
        self._transport: asyncio.Transport
        self._ending = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._messages.begin(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take messages."""
        if self._ending:
            return
        try:
            packages = self._reader.feed(data)
        except ValueError:  # what no receiver says
            self.end_soon()
            return
        self._back = back = list[bytes]()
        for package in packages:
            self._here.add(package.message)
            self._messages.add(self, package)
        self._back = None
        if back:
            self._transport.write(b"".join(back))

    def pause_writing(self) -> None:
        """Take nothing more from a receiver that does not read what goes back to it."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on: it has read."""
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any end is the same
        """Note that the receiver has gone."""
        self.lost = True
        self._messages.end(self)

    def done(self, message: QueueId) -> None:
        """See ``Giver.done``."""
        self._here.discard(message)
        if self._ending and not self._here:
            self._transport.close()

    def give_back(self, message: QueueId) -> None:
        """See ``Giver.give_back``."""
        if self._back is not None:
            self._back.append(returned(message))
        elif not self.lost:
            self._transport.write(returned(message))
        self.done(message)

    def end_soon(self) -> None:
        """Take nothing more, and end when no message is being worked on."""
        self._ending = True
        if not self._here:
            self._transport.close()
