"""Checks the name by which this host greets other servers."""

import socket
from collections.abc import Iterator

from emailrelay.config.findings import SettingFinding, warning


def check(domain: str | None) -> Iterator[SettingFinding]:
    """Yield a warning if ``domain`` is not set and the name of the machine is a short one."""
    machine = socket.gethostname()
    if domain is None and is_short(machine):
        yield warning("domain", f"is not set, and {advice(machine)}")


def is_short(machine: str) -> bool:
    """Tell whether a host's name has no domain, so that other hosts cannot look it up."""
    return "." not in machine.strip(".")


def advice(machine: str) -> str:
    """Return what a short name means, and what to do."""
    return (
        f"the name of this machine, {machine}, has no dot: some servers refuse such a name in EHLO "
        'and addresses; set domain, as in domain = "mail.example.com"'
    )
