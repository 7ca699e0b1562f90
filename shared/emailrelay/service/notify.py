"""Reports to the service manager (sd_notify(3)), if it has asked for them."""

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send ``READY=1``, ``STOPPING=1`` … to the service manager; without one, do nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        # sd_notify(3): a leading @ stands for the zero byte of an abstract socket.
        address = f"\0{address[1:]}"
    # A service manager that does not listen must not stop mail.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address)
