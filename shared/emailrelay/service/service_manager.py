"""Reports readiness, life and work to the service manager, such as systemd (sd_notify(3))."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

_MICROSECOND = 1e-6


def notify(*states: str, waits: bool = True) -> None:
    """Send states such as ``READY=1`` to the service manager, if there is one.

    ``waits``: until it has room for them; else they may be lost.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        # A leading @ stands for the zero byte of an abstract socket.
        address = f"\0{address[1:]}"
    # A service manager that does not listen must not stop mail.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(waits)
        channel.sendto("\n".join(states).encode(), address)


def is_there() -> bool:
    """Tell whether there is a service manager that listens."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the time after which the manager restarts a silent service; None: it does not.

    See sd_watchdog_enabled(3). ``pid``: the main process.
    """
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) * _MICROSECOND if text.isdecimal() and int(text) else None
