"""Connections to several addresses of a server, started one after another (RFC 8305 section 5).

An address may not answer, because packets are lost. To wait for it before the next address is tried
would delay mail by the whole connection timeout, on each new connection.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

from emailrelay_forwarder.session.resolve import SocketAddress
from emailrelay_forwarder.session.session_error import SessionError, unreachable
from emailrelay_forwarder.session.wire import Wire

DELAY = 0.25
"""Seconds before the next address is tried as well (RFC 8305 section 8)."""
MEMORY = 600.0
"""Seconds for which an address that did not answer is tried last (RFC 6555 section 4.2)."""
_MOST = 1000


class Silent:
    """The addresses that recently did not answer, or answered after another one."""

    def __init__(self) -> None:
        self._since: dict[SocketAddress, float] = {}

    def note(self, address: SocketAddress, now: float) -> None:
        """Note that an address did not answer; ``now`` is the loop's time in seconds."""
        self._since.pop(address, None)
        self._since[address] = now
        if len(self._since) > _MOST:
            del self._since[next(iter(self._since))]

    def answered(self, address: SocketAddress) -> None:
        """Note that an address answered."""
        self._since.pop(address, None)

    def last(self, addresses: Iterable[SocketAddress], now: float) -> list[SocketAddress]:
        """Return the addresses with the silent ones last, else in the same order."""
        return sorted(addresses, key=lambda a: self._since.get(a, now - MEMORY - 1) + MEMORY > now)


def interleaved(addresses: Iterable[SocketAddress]) -> list[SocketAddress]:
    """Alternate the address families, beginning with the first one's (RFC 8305 section 4)."""
    families: dict[int, list[SocketAddress]] = {}
    for address in addresses:
        families.setdefault(address.family, []).append(address)
    rounds = chain.from_iterable(zip_longest(*families.values()))
    return [address for address in rounds if address is not None]


class Won(NamedTuple):
    """The first connection, and the addresses that have not failed."""

    address: SocketAddress
    connection: Wire
    left: list[SocketAddress]


async def first_to_answer(
    addresses: Sequence[SocketAddress],
    connect: Callable[[SocketAddress], Coroutine[None, None, Wire]],
    silent: Silent,
) -> Won:
    """Connect to each address in turn, after ``DELAY`` or at a failure; the first connection wins.

    Raises:
        SessionError: that of the only address, or one for all of them.

    """
    if len(addresses) == 1:
        return Won(addresses[0], await connect(addresses[0]), [])
    now = asyncio.get_running_loop().time
    waiting = silent.last(interleaved(addresses), now())
    attempts: dict[asyncio.Task[Wire], SocketAddress] = {}
    troubles: dict[SocketAddress, SessionError] = {}
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
                    troubles[address] = trouble
                else:
                    silent.answered(address)
                    for other in attempts.values():
                        silent.note(other, now())
                    return Won(address, connection, [*attempts.values(), *waiting])
    finally:
        for attempt in attempts:
            _give_up(attempt)
    raise _joined(troubles)


def _give_up(attempt: asyncio.Task[Wire]) -> None:
    """Cancel an attempt; drop its connection, also one that it still makes."""

    def drop(ended: asyncio.Task[Wire]) -> None:
        if not ended.cancelled() and ended.exception() is None:
            ended.result().abort()

    attempt.add_done_callback(drop)
    attempt.cancel()


def _joined(troubles: Mapping[SocketAddress, SessionError]) -> SessionError:
    """Return one error for the failures of all addresses.

    Its text does not depend on the order of the tries: the same trouble is one reason in the log
    and one group in the queue.
    """
    by_address = sorted(troubles.items(), key=lambda item: str(item[0]))
    texts = [trouble.reply.text.removeprefix("4.4.1 ") for _, trouble in by_address]
    return unreachable("; ".join(texts))
