"""Connections to several addresses of one server, begun one after another (RFC 8305 section 5).

If packets to an address are lost, it does not answer. To wait for it before the next address is
tried would delay mail by the whole connection time-out, on each new connection.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import chain, zip_longest
from typing import Generic, NamedTuple, Protocol, TypeVar

from emailrelay_forwarder.session.resolve import SocketAddress
from emailrelay_forwarder.session.session_error import SessionError, unreachable

DELAY = 0.25
"""Seconds that an address has to itself before the next is tried as well (RFC 8305 section 8)."""
MEMORY = 600.0
"""Seconds for which an address that did not answer is tried last (RFC 6555 section 4.2)."""
_MOST = 1000


class Abortable(Protocol):
    """A connection that can be dropped."""

    def abort(self) -> None:
        """Drop it."""
        ...


C = TypeVar("C", bound=Abortable)


class Silent:
    """The addresses that lately did not answer, or not before another one did."""

    def __init__(self) -> None:
        self._since: dict[SocketAddress, float] = {}

    def note(self, address: SocketAddress, now: float) -> None:
        """Take note that an address did not answer; ``now`` is the loop's time in seconds."""
        self._since.pop(address, None)
        self._since[address] = now
        if len(self._since) > _MOST:
            del self._since[next(iter(self._since))]

    def answered(self, address: SocketAddress) -> None:
        """Take note that an address did."""
        self._since.pop(address, None)

    def last(self, addresses: Iterable[SocketAddress], now: float) -> list[SocketAddress]:
        """Put these addresses behind the others, which stay in their order."""
        return sorted(addresses, key=lambda a: self._since.get(a, now - MEMORY - 1) + MEMORY > now)


def interleaved(addresses: Iterable[SocketAddress]) -> list[SocketAddress]:
    """Put addresses of the families by turns, the first one's first (RFC 8305 section 4)."""
    families: dict[int, list[SocketAddress]] = {}
    for address in addresses:
        families.setdefault(address.family, []).append(address)
    rounds = chain.from_iterable(zip_longest(*families.values()))
    return [address for address in rounds if address is not None]


class Won(NamedTuple, Generic[C]):
    """The connection that was made first, and the addresses that are not known to fail."""

    address: SocketAddress
    connection: C
    left: list[SocketAddress]


async def first_to_answer(
    addresses: Sequence[SocketAddress],
    connect: Callable[[SocketAddress], Coroutine[None, None, C]],
    silent: Silent,
) -> Won[C]:
    """Connect to each address in turn, ``DELAY`` apart or as soon as one fails; the first wins.

    Raises:
        SessionError: of the only address, or of all of them together.

    """
    if len(addresses) == 1:
        return Won(addresses[0], await connect(addresses[0]), [])
    now = asyncio.get_running_loop().time
    waiting = silent.last(interleaved(addresses), now())
    attempts: dict[asyncio.Task[C], SocketAddress] = {}
    troubles: list[SessionError] = []
    try:
        while waiting or attempts:
            if waiting:
                address = waiting.pop(0)
                attempts[asyncio.create_task(connect(address))] = address
            done, _ = await asyncio.wait(
                attempts, timeout=DELAY if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                address = attempts.pop(attempt)
                try:
                    connection = attempt.result()
                except SessionError as trouble:
                    silent.note(address, now())
                    troubles.append(trouble)
                else:
                    silent.answered(address)
                    for other in attempts.values():
                        silent.note(other, now())
                    return Won(address, connection, [*attempts.values(), *waiting])
    finally:
        for attempt in attempts:
            _give_up(attempt)
    raise _joined(troubles)


def _give_up(attempt: asyncio.Task[C]) -> None:
    """End an attempt; a connection that it has made, or makes all the same, is dropped."""

    def drop(ended: asyncio.Task[C]) -> None:
        if not ended.cancelled() and ended.exception() is None:
            ended.result().abort()

    attempt.add_done_callback(drop)
    attempt.cancel()


def _joined(troubles: Sequence[SessionError]) -> SessionError:
    """Put the trouble of all addresses into one text."""
    texts = [trouble.reply.text.removeprefix("4.4.1 ") for trouble in troubles]
    return unreachable("; ".join(texts))
