"""The release, and its capabilities on this machine."""

import importlib.util
import platform
import socket
from importlib import metadata


def version() -> str:
    """Return the release number of the installed distribution."""
    return metadata.version("emailrelay")


def capabilities() -> list[str]:
    """Return a line for each difference between machines, as ``name: value``."""
    import ssl  # noqa: PLC0415 -- 10 ms and 2 MB that only this answer needs

    uvloop = importlib.util.find_spec("uvloop") is not None
    return [
        f"Python: {platform.python_version()}",
        f"TLS library: {ssl.OPENSSL_VERSION}",
        f"Event loop: {'uvloop' if uvloop else 'asyncio'}",
        f"Unix domain sockets: {_enabled(hasattr(socket, 'AF_UNIX'))}",
        f"IPv6: {_enabled(socket.has_ipv6)}",
    ]


def _enabled(there: bool) -> str:  # noqa: FBT001 -- its only argument is the question itself
    return "enabled" if there else "disabled"
