"""The release, and its capabilities on this machine."""

from emailrelay.terminal.output import print_page


def version() -> str:
    """Return the release number of the installed distribution."""
    from importlib import metadata  # noqa: PLC0415 - 20 ms that only this needs

    return metadata.version("emailrelay")


def capabilities() -> list[str]:
    """Return a line for each difference between machines, as ``name: value``."""
    # 10 ms and 2 MB that only this answer needs
    import importlib.util  # noqa: PLC0415
    import platform  # noqa: PLC0415
    import socket  # noqa: PLC0415
    import ssl  # noqa: PLC0415

    uvloop = importlib.util.find_spec("uvloop") is not None
    return [
        f"Python: {platform.python_version()}",
        f"TLS library: {ssl.OPENSSL_VERSION}",
        f"Event loop: {'uvloop' if uvloop else 'asyncio'}",
        f"Unix domain sockets: {_enabled(hasattr(socket, 'AF_UNIX'))}",
        f"IPv6: {_enabled(socket.has_ipv6)}",
    ]


def print_version(program: str, *, verbose: bool) -> None:
    """Print the version, as all commands do; ``verbose``: and the capabilities; see print_page."""
    lines = [f"{program} {version()}", *(capabilities() if verbose else ())]
    print_page(program, "".join(f"{line}\n" for line in lines))


def _enabled(there: bool) -> str:  # noqa: FBT001 -- its only argument is the question itself
    return "enabled" if there else "disabled"
