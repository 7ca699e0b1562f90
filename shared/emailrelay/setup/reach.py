"""The rule that the user of the services must be able to run the commands."""

from collections.abc import Iterable
from pathlib import Path

from emailrelay.setup.machine import Machine, mode_of

_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""The units hide these directories from the services (``ProtectHome=``)."""


def obstacle(machine: Machine, programs: Iterable[Path]) -> str | None:
    """Return the reason why another user cannot run one of the programs, or None.

    A path is followed through its links: the Python of an environment is often one.
    """
    for program in programs:
        real = machine.real(program)
        if not real.exists():
            return f"{program} does not exist; --bin-dir names the directory of the commands"
        for path in filter(machine.holds, _steps_of(real)):
            own = machine.own(path)
            if machine.has_systemd and any(own.is_relative_to(home) for home in _HOMES):
                return f"{own} is in a home directory, which the units do not show to the services"
            if not mode_of(path) & 0o001:
                return f"other users have no access to {own}"
    return None


def _steps_of(real: Path) -> Iterable[Path]:
    """Yield the program, and each directory on the ways to it and to the file behind its links."""
    resolved = real.resolve()
    yield resolved
    yield from resolved.parents
    yield from real.absolute().parents
