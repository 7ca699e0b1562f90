"""A receiver's connections to forwarders, to which it hands messages whose clients wait.

A message that comes back, or whose connection ends, is the receiver's again.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import cast

from emailrelay.queue_id import QueueId
from emailrelay.running_loop import running_loop
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.wake import stream_sockets
from emailrelay.store.spool.wake.package import Package, ReturnReader, pack

TAKES = "takes."
"""The prefix of the names of forwarders' sockets in ``.wake/``."""
_LOOK = 1.0
"""Seconds between two looks for further forwarders."""
_MOST_LINKS = 16
_MOST_HANDED = 100
"""Messages that one forwarder has at a time; the others go by files, for any forwarder."""


class Link(asyncio.Protocol):
    """One connection to a forwarder, and the messages that it has."""

    def __init__(self, lost: Callable[["Link"], None], receive: Callable[[], None]) -> None:
        """``lost`` is called at the end, before messages go back; ``receive``: see ``Links``."""
        self._lost, self._receive = lost, receive
        self.full = False
        """True: the forwarder does not read what was sent, and gets nothing more."""
        self._returns = ReturnReader()
        self._handed: dict[QueueId, Callable[[], None]] = {}
        self._transport: asyncio.Transport

    @property
    def load(self) -> int:
        """Messages that the forwarder has."""
        return len(self._handed)

    def hand(self, package: Package, back: Callable[[], None]) -> None:
        """Hand over a message; ``back`` is called if it comes back."""
        self._handed[package.message] = back
        self._transport.write(pack(package))

    def forget(self, message: QueueId) -> None:
        """Expect a message no more: it was answered, or its client has gone."""
        self._handed.pop(message, None)

    def close(self) -> None:
        """End the connection."""
        self._transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take messages back."""
        try:
            messages = self._returns.feed(data)
        except ValueError:  # what no forwarder says
            self._transport.abort()
            return
        self._receive()  # an answer may have come before
        for message in messages:
            back = self._handed.pop(message, None)
            if back is not None:
                back()

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self.full = True

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self.full = False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any end is the same
        """Take all messages back: the forwarder has died, or stops."""
        self._lost(self)
        handed, self._handed = self._handed, {}
        for back in handed.values():
            back()


class Links:
    """All such connections of this process."""

    def __init__(self, directory: Directory, receive: Callable[[], None]) -> None:
        """``receive`` takes the answers that have arrived: a dead forwarder's may be among them."""
        self._directory, self._receive = directory, receive
        self._links: dict[str, Link] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._next_look = 0.0

    def free(self) -> Link | None:
        """Return the connection with the fewest messages; None: use files."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK
            self._look()
        best: Link | None = None
        for link in self._links.values():
            if not link.full and (best is None or link.load < best.load):
                best = link
        return best if best is not None and best.load < _MOST_HANDED else None

    def _look(self) -> None:
        """Connect to new sockets in the background, without delaying messages."""
        with contextlib.suppress(OSError):
            for name in stream_sockets.found(self._directory):
                known = name in self._links or name in self._opening
                if known or not name.startswith(TAKES):
                    continue
                if len(self._links) + len(self._opening) >= _MOST_LINKS:
                    break
                with contextlib.suppress(OSError):  # a dead forwarder's, or a stranger's
                    opened = stream_sockets.connected(self._directory, name)
                    self._opening[name] = asyncio.create_task(self._open(name, opened))

    async def _open(self, name: str, opened: socket.socket) -> None:
        try:
            _, link = await running_loop().create_unix_connection(
                lambda: Link(self._ended, self._receive), sock=opened
            )
        except OSError:
            opened.close()
        except BaseException:
            opened.close()
            raise
        else:
            self._links[name] = link
        finally:
            del self._opening[name]

    def _ended(self, link: Link) -> None:
        self._links = {name: other for name, other in self._links.items() if other is not link}
        self._receive()

    def close(self) -> None:
        """End all connections."""
        for task in self._opening.values():
            task.cancel()
        for link in list(self._links.values()):
            link.close()
