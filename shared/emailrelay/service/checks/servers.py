"""Checks whether servers can be found: names are looked up, and local services are called."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from emailrelay.config.findings import SettingFinding, warning
from emailrelay.filters.milter import check
from emailrelay.host_port import HostPort, ServerAddress, UnixPath

_PATIENCE = 3.0
"""Seconds for all lookups together."""


def lookups(setting: str, addresses: Iterable[ServerAddress]) -> Iterator[SettingFinding]:
    """Yield the servers that cannot be found now; their mail waits, so the service starts."""
    wanted = list(dict.fromkeys(addresses))
    yield from _all_at_once(setting, wanted, _look_up)


def services(setting: str, addresses: Iterable[ServerAddress]) -> Iterator[SettingFinding]:
    """Yield the services, such as network filters, that cannot be reached now."""
    wanted = list(dict.fromkeys(addresses))
    yield from _all_at_once(setting, wanted, _call)


def milters(setting: str, addresses: Iterable[ServerAddress]) -> Iterator[SettingFinding]:
    """Yield the milters that cannot be reached now, or speak another version of the protocol."""
    wanted = list(dict.fromkeys(addresses))
    yield from _all_at_once(setting, wanted, _negotiate)


def _all_at_once(
    setting: str, addresses: Sequence[ServerAddress], act: Callable[[ServerAddress], str]
) -> Iterator[SettingFinding]:
    found: dict[ServerAddress, str] = {}

    def work(address: ServerAddress) -> None:
        found[address] = act(address)

    # Threads that do not end in time are left behind: the library's lookup has no time limit.
    threads = [threading.Thread(target=work, args=(each,), daemon=True) for each in addresses]
    for thread in threads:
        thread.start()
    end = time.monotonic() + _PATIENCE
    for address, thread in zip(addresses, threads, strict=True):
        thread.join(max(0.0, end - time.monotonic()))
        trouble = found.get(address, f"no answer within {_PATIENCE:g} s; mail for it waits")
        if trouble:
            yield warning(setting, f"{address}: {trouble}")


def _look_up(address: ServerAddress) -> str:
    if isinstance(address, UnixPath):
        return "" if Path(address.path).exists() else "there is no such socket; mail for it waits"
    try:
        socket.getaddrinfo(address.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        return (
            f"the host's name cannot be looked up ({said or error}); "
            "correct it, or mail for it waits"
        )
    return ""


def _negotiate(address: ServerAddress) -> str:
    return asyncio.run(check.trouble(address, _PATIENCE))


def _call(address: ServerAddress) -> str:
    try:
        if isinstance(address, HostPort):
            socket.create_connection((address.host, int(address.port)), _PATIENCE).close()
        else:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_PATIENCE)
                connection.connect(str(address))
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        return f"cannot be reached ({said or error}); start it, or mail waits for it"
    return ""
