"""Checks the addresses to listen on: each is free, or one of our services holds it."""

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from emailrelay.config.findings import SettingFinding, warning
from emailrelay.listening import BindTrial, try_binding
from emailrelay.service.checks.port_holder import holder_of

_LONGEST_PATH = 107
"""Octets (unix(7))."""


def tcp(interfaces: Sequence[str], port: int, *, prefix: str = "") -> Iterator[SettingFinding]:
    """Yield the TCP addresses that cannot be bound by a service with the rights of this process.

    ``prefix`` is in front of the names of the settings: ``monitor_`` for ``monitor_port``.
    """
    for trial in try_binding(interfaces, port):
        setting = prefix + (
            "port" if trial.error.errno in {errno.EADDRINUSE, errno.EACCES} else "interface"
        )
        if trial.error.errno == errno.EACCES:
            # A unit gives the service a right that its user does not have (AmbientCapabilities).
            yield warning(setting, f"{trial}; the check by root tries it for the service")
        elif trial.error.errno != errno.EADDRINUSE:
            yield SettingFinding(setting, str(trial))
        elif (other := _stranger(trial)) is not None:
            yield SettingFinding(setting, f"{trial} ({other})")


def _stranger(trial: BindTrial) -> str | None:
    """Return the other program that holds an address; None: it is a service of ours."""
    holder = holder_of(trial.port)
    if holder is not None:
        return None if holder.is_ours else f"{holder.command}, process {holder.pid}, uses it"
    return None if _greets_as_ours(trial) else "this user cannot see which program uses it"


def _greets_as_ours(trial: BindTrial) -> bool:
    try:
        with socket.create_connection((trial.host or "localhost", trial.port), 2) as connection:
            return b" E-MailRelay ready" in connection.recv(1000)
    except OSError:
        return False


def inherited(interfaces: Sequence[str]) -> Iterator[SettingFinding]:
    """Yield the inherited sockets, ``fd#N``, that this process does not have."""
    for interface in interfaces:
        if not interface.startswith("fd#"):
            continue
        number = interface.removeprefix("fd#")
        try:
            is_socket = stat.S_ISSOCK(os.fstat(int(number)).st_mode)
        except (OSError, ValueError, OverflowError):
            is_socket = False
        if not is_socket:
            text = f"{interface}: this process has no such socket; let the service manager pass it"
            yield SettingFinding("interface", text)


def unix(interfaces: Sequence[str], *, setting: str = "interface") -> Iterator[SettingFinding]:
    """Yield the unix sockets that this user cannot make."""
    for interface in interfaces:
        if interface.startswith("/"):
            yield from (SettingFinding(setting, text) for text in _unix(Path(interface)))


def _unix(path: Path) -> Iterator[str]:
    if len(os.fsencode(path)) > _LONGEST_PATH:
        yield f"{path}: the path of a socket has at most {_LONGEST_PATH} octets; shorten it"
    elif not path.parent.is_dir():
        yield f"{path}: there is no directory {path.parent}; make it"
    elif not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        yield f"{path}: this user cannot make files in {path.parent}; give it the right"
    elif path.exists() and not path.is_socket():
        yield f"{path}: is a file, not a socket; remove it"
