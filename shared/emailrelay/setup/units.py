"""The systemd units of the services, with the real path of the commands."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from emailrelay.setup import made_file
from emailrelay.setup.machine import Machine
from emailrelay.setup.shipped import OURS
from emailrelay.setup.step import LeftAlone, SetupSteps, StepToTake

_FOLDER = OURS / "systemd"
_PLACE = Path("/etc/systemd/system")
_PATH_IN_UNITS = "/opt/emailrelay/bin/"


def units(shipped: Mapping[PurePosixPath, Path], bin_dir: Path) -> Mapping[str, str]:
    """Return the text of each unit of the services by its name.

    ``emailrelay.service`` is not among them: it runs the legacy command in their place.
    """
    return {
        name.name: place.read_text("utf-8").replace(_PATH_IN_UNITS, f"{bin_dir}/")
        for name, place in shipped.items()
        if name.parent == _FOLDER and name.name.startswith("emailrelay-")
    }


def set_up(machine: Machine, texts: Mapping[str, str]) -> SetupSteps:
    """Yield the steps that write the units; none on a machine without systemd."""
    if not machine.has_systemd:
        yield LeftAlone(
            "the units of the services: this machine does not run systemd",
            "start the services from your own supervisor: "
            "the end of the set-up prints the commands",
        )
        return
    changed = False
    for name, text in texts.items():
        step = made_file.to_write(machine, _PLACE / name, text)
        changed |= isinstance(step, StepToTake)
        yield step
    if changed:
        yield from _reload(machine)


def take_down(machine: Machine, texts: Mapping[str, str]) -> SetupSteps:
    """Yield the steps that stop the services and remove their units."""
    changed = False
    for name in texts:
        step = made_file.to_remove(machine, _PLACE / name)
        if isinstance(step, StepToTake):
            changed = True
            if machine.has_systemd and machine.has_program("systemctl"):
                yield _disabled(machine, name)
        if step is not None:
            yield step
    if changed:
        yield from _reload(machine)


def restart_hint(machine: Machine, texts: Mapping[str, str]) -> str | None:
    """Return the command that restarts the services that run, if any does."""
    if not (machine.is_this_one and machine.has_systemd):
        return None
    running = [
        unit
        for unit in (name.removesuffix(".service") for name in texts)
        if machine.try_run("systemctl", "--quiet", "is-active", unit)[0] == 0
    ]
    return f"systemctl restart {' '.join(running)}" if running else None


def _disabled(machine: Machine, name: str) -> StepToTake:
    if machine.is_this_one:
        words = ("systemctl", "disable", "--now", name)
        return StepToTake(f"stop {name}, also at boot", partial(machine.run, *words))
    words = ("systemctl", f"--root={machine.root}", "disable", name)
    return StepToTake(f"do not start {name} at boot", partial(machine.run, *words))


def _reload(machine: Machine) -> SetupSteps:
    if machine.is_this_one and machine.has_systemd:
        words = ("systemctl", "daemon-reload")
        yield StepToTake("make systemd read the units", partial(machine.run, *words))
