"""Looks up the addresses of a server without delaying other work."""

import asyncio
import contextlib
import socket
import threading
from dataclasses import dataclass
from typing import Any

from emailrelay.reply import Reply
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_error import (
    SessionError,
    SessionStep,
    in_words,
    unreachable,
)


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """One address to connect to, as ``socket`` and ``connect`` take it."""

    family: int
    address: tuple[Any, ...] | str

    def __str__(self) -> str:
        """Write the numeric address for the log."""
        if isinstance(self.address, str):
            return self.address
        host, port = self.address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


async def resolve(
    route: NextServer, *, limit: float, lookups: asyncio.Semaphore
) -> list[SocketAddress]:
    """Return all addresses of a route in the resolver's order (RFC 6724), each once.

    ``lookups`` bounds the threads that look up names; a wait for one counts towards ``limit``.

    Raises:
        SessionError: there are none, or none came within ``limit`` seconds.

    """
    if route.is_unix:
        return [SocketAddress(socket.AF_UNIX, route.host)]
    try:
        return _numeric(route)
    except (OSError, UnicodeError):
        pass  # a name, not an address: ask the resolver
    try:
        async with asyncio.timeout(limit):
            found = await _in_thread(route, lookups)
    except TimeoutError as error:
        raise unreachable(f"no address of {route.host} found within {limit:g} s") from error
    except (OSError, UnicodeError) as error:
        text = f"4.4.3 no address of {route.host} found: {_why(error)}"
        raise SessionError(SessionStep.CONNECT, Reply.of(451, text), ours=True) from error
    if not found:
        raise unreachable(f"{route.host} has no address")
    return found


def _why(error: OSError | UnicodeError) -> str:
    """Return the reason; the numbers are those of getaddrinfo(3)."""
    if isinstance(error, UnicodeError):
        return "this can be no host name"
    match error.errno:
        case socket.EAI_NONAME | socket.EAI_NODATA:
            return "the name is not known"
        case socket.EAI_AGAIN:
            return "no name server answers now"
        case socket.EAI_SERVICE:
            return f"there is no service of this name ({in_words(error)})"
        case _:
            return in_words(error)


def _numeric(route: NextServer) -> list[SocketAddress]:
    return _lookup(route, socket.AI_NUMERICHOST | socket.AI_NUMERICSERV)


def _lookup(route: NextServer, flags: int) -> list[SocketAddress]:
    found = socket.getaddrinfo(route.host, route.port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(SocketAddress(family, address) for family, _, _, _, address in found))


async def _in_thread(route: NextServer, lookups: asyncio.Semaphore) -> list[SocketAddress]:
    """Look up in a separate daemon thread.

    The loop's thread pool serves the store. A resolver that hangs for half a minute must neither
    occupy its threads nor delay the end of the process, which joins them.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[SocketAddress]] = loop.create_future()

    def tell(found: list[SocketAddress], error: BaseException | None) -> None:
        lookups.release()
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def look_up() -> None:
        found: list[SocketAddress] = []
        failure: BaseException | None = None
        try:
            found = _lookup(route, 0)
        except (OSError, UnicodeError) as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, found, failure)

    await lookups.acquire()
    try:
        threading.Thread(target=look_up, daemon=True, name=f"resolve {route.host}").start()
    except RuntimeError:  # no further thread can be started
        lookups.release()
        raise
    return await answer
