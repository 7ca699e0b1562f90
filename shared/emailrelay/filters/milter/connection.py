"""A connection to a milter: packets out and in, bounded in size."""

import asyncio
import socket
from typing import cast

from emailrelay.filters.milter import negotiation, packets
from emailrelay.filters.milter.negotiation import MilterTerms
from emailrelay.filters.milter.packets import Command, MilterError
from emailrelay.host_port import HostPort, ServerAddress, UnixPath
from emailrelay.running_loop import running_loop

_QUICK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Linux: acknowledge at once (tcp(7))."""


class MilterGone(Exception):
    """The milter closed the connection."""


class MilterConnection(asyncio.Protocol):
    """An open connection; one message uses it at a time.

    A protocol class: with the reader and writer of a stream an answer costs twice as much.
    """

    def __init__(self) -> None:
        self.terms: MilterTerms | None = None
        """Set by ``negotiate``."""
        self.used = False
        """True if it has served before: its milter knows the client, and may be closing it."""
        self.kept_at = 0.0
        """Time of its last use, by the loop's clock."""
        self._transport: asyncio.Transport | None = None
        self.answers_together = True
        """False if many answers at once would each wait for the acknowledgement of the one before.
        """
        self._tcp: socket.socket | None = None
        self._heard = bytearray()
        self._arrival: asyncio.Future[None] | None = None
        self._full = False
        """True while reading is paused."""
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        # uvloop's transports do not derive from asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)
        used: socket.socket = transport.get_extra_info("socket")
        if used.family in (socket.AF_INET, socket.AF_INET6):
            self._tcp, self.answers_together = used, _QUICK is not None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the library's signature
        """See ``asyncio.Protocol``; the loop calls this also for an end without an error."""
        self._transport = None
        self._writable.set()
        self._wake()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._heard += data
        if self._tcp is not None and _QUICK is not None:
            # The next answer waits in the milter's kernel until this one is acknowledged (Nagle's
            # algorithm), which the kernel here may put off for 40 ms. The option lasts for a while.
            self._tcp.setsockopt(socket.IPPROTO_TCP, _QUICK, 1)
        if self._transport is not None and len(self._heard) > packets.LONGEST and not self._full:
            self._full = True
            self._transport.pause_reading()
        self._wake()

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._writable.set()

    @property
    def silent(self) -> bool:
        """True if it is open, and the milter has sent nothing unasked."""
        return self._transport is not None and not self._heard

    async def negotiate(self) -> MilterTerms:
        """Agree on the dialogue.

        Raises:
            MilterGone: the milter closed the connection.
            MilterError: it is not a milter, or has another version.

        """
        await self.send(negotiation.offer())
        self.terms = negotiation.terms(*await self.receive())
        return self.terms

    async def send(self, octets: bytes) -> None:
        """Send packets; wait while too much of them is on its way.

        Raises:
            MilterGone: the connection is closed.

        """
        if self._transport is not None:
            self._transport.write(octets)
            await self._writable.wait()
        if self._transport is None and not self._heard:
            raise MilterGone("it closed the connection")

    async def receive(self) -> tuple[bytes, bytes]:
        """Return the next packet: its kind and data.

        Raises:
            MilterGone: the connection is closed.
            MilterError: what comes is not a packet, or too long.

        """
        while (found := self.heard()) is None:
            if self._transport is None:
                raise MilterGone("it closed the connection")
            if self._full:
                self._full = False
                self._transport.resume_reading()
            self._arrival = running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        return found

    def heard(self) -> tuple[bytes, bytes] | None:
        """Return the next packet as ``receive``; None: it has not come yet."""
        return packets.taken(self._heard)

    def end(self) -> None:
        """Tell the milter that no client follows, and close."""
        if self._transport is not None:
            self._transport.write(packets.packet(Command.QUIT))
            self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


async def connect(place: ServerAddress) -> MilterConnection:
    """Open a connection.

    Raises:
        OSError: the milter cannot be reached.

    """
    loop = asyncio.get_running_loop()
    match place:
        case HostPort(host, port):
            return (await loop.create_connection(MilterConnection, host, int(port)))[1]
        case UnixPath(path):
            return (await loop.create_unix_connection(MilterConnection, path))[1]


async def opened(place: ServerAddress) -> MilterConnection:
    """Open a connection and agree on the dialogue.

    Raises:
        OSError: the milter cannot be reached.
        MilterError: it is not a milter, has another version, or closed the connection.

    """
    connection = await connect(place)
    try:
        await connection.negotiate()
    except MilterGone as error:
        connection.abort()
        raise MilterError(f"this is not a milter: {error} at our first packet") from error
    except BaseException:
        connection.abort()
        raise
    return connection
