"""The spool, the settings directory, and a settings file with every setting in a comment."""

import os
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from emailrelay import settings_file, spool_dir
from emailrelay.errors import ConfigError
from emailrelay.setup.machine import Machine, SetupFailed, mode_of
from emailrelay.setup.made_file import write
from emailrelay.setup.step import AlreadySo, LeftAlone, SetupSteps, StepToTake
from emailrelay.spool_owner import SERVICE_USER

SETTINGS = Path(settings_file.DEFAULT)
_SPOOL = Path(spool_dir.PACKAGED)
_SPOOL_MODE = 0o3770
"""Members of the group submit and look, and move no file of others: docs/security.md."""
_SETTINGS_MODE = 0o2755
"""All users may read settings, as ``sendmail`` does; new files get the group of the services."""


def spool_of(machine: Machine) -> Path:
    """Return the spool that the settings file names, else the default one.

    Raises:
        SetupFailed: the settings file cannot be read, or is not TOML.

    """
    named = settings_of(machine).get("spool_dir")
    return Path(named) if isinstance(named, str) and Path(named).is_absolute() else _SPOOL


def settings_of(machine: Machine) -> Mapping[str, object]:
    """Return what the settings file sets; a new one has comments only.

    Raises:
        SetupFailed: the settings file cannot be read, or is not TOML.

    """
    if not machine.exists(SETTINGS):
        return {}
    try:
        return settings_file.read(str(machine.real(SETTINGS)), {}).values
    except ConfigError as error:
        raise SetupFailed(f"{error}; correct the file") from error


def is_used(machine: Machine, spool: Path) -> bool:
    """Tell if a spool has entries: mail, or what the services keep beside it."""
    return machine.exists(spool) and any(machine.real(spool).iterdir())


def set_up(machine: Machine, spool: Path, example: str) -> SetupSteps:
    """Yield the steps that make the directories and the settings file with the text ``example``."""
    yield from _spool(machine, spool)
    yield from _settings_directory(machine)
    if machine.exists(SETTINGS):
        yield AlreadySo(f"{SETTINGS}")
    else:
        yield StepToTake(
            f"write {SETTINGS}, with every setting in a comment",
            partial(write, machine, SETTINGS, example),
        )


def take_down(machine: Machine, spool: Path, example: str) -> SetupSteps:
    """Yield the steps that remove what holds no mail, no secret and no edited setting."""
    settings, directory = machine.real(SETTINGS), SETTINGS.parent
    if settings.is_file() and settings.read_text("utf-8", errors="replace") == example:
        yield StepToTake(f"remove {SETTINGS}, which was not edited", settings.unlink)
        others = {entry.name for entry in settings.parent.iterdir()} - {SETTINGS.name}
    elif machine.exists(directory):
        others = {entry.name for entry in settings.parent.iterdir()}
    else:
        others = {""}
    if others and machine.exists(directory):
        yield LeftAlone(f"{directory}: it holds settings or secrets", f"rm -r {directory}")
    elif not others:
        yield StepToTake(f"remove {directory}, which is empty", settings.parent.rmdir)
    if not machine.exists(spool):
        return
    if is_used(machine, spool):
        yield LeftAlone(f"{spool}: it may hold mail", f"look first: ls -lA {spool}")
    else:
        yield StepToTake(f"remove {spool}, which is empty", machine.real(spool).rmdir)


def _spool(machine: Machine, spool: Path) -> SetupSteps:
    real = machine.real(spool)
    described = f"the spool {spool} ({SERVICE_USER}:{SERVICE_USER}, mode {_SPOOL_MODE:o})"
    give = partial(_give, machine, real, SERVICE_USER, _SPOOL_MODE)
    if not machine.exists(spool):
        yield StepToTake(f"create {described}", give)
        return
    found, user = real.lstat(), machine.user(SERVICE_USER)
    if not stat.S_ISDIR(found.st_mode):
        raise SetupFailed(f"{spool} is not a directory; move it away, or name another spool_dir")
    if user is not None and found.st_uid == user.uid and not found.st_mode & 0o007:
        yield AlreadySo(f"the spool {spool}")
    elif not any(real.iterdir()):
        yield StepToTake(f"give {described}", give)
    else:
        yield LeftAlone(
            f"{spool}: it holds files, and does not belong to {SERVICE_USER} alone",
            f"if they are mail of this relay: chown -R {SERVICE_USER}:{SERVICE_USER} {spool}; "
            f"chmod {_SPOOL_MODE:o} {spool}",
        )


def _settings_directory(machine: Machine) -> SetupSteps:
    directory = SETTINGS.parent
    real, group = machine.real(directory), machine.group(SERVICE_USER)
    if not machine.exists(directory):
        step = (
            f"create {directory} for settings and secrets "
            f"(root:{SERVICE_USER}, mode {_SETTINGS_MODE:o})"
        )
        yield StepToTake(step, partial(_give, machine, real, "root", _SETTINGS_MODE))
        return
    found = real.stat()
    readable = mode_of(real) & 0o005 == 0o005 or (
        found.st_gid == group and mode_of(real) & 0o050 == 0o050
    )
    if found.st_uid != 0 or not readable:
        yield LeftAlone(
            f"{directory}: {SERVICE_USER} cannot read it, or it does not belong to root",
            f"chown root:{SERVICE_USER} {directory}; chmod {_SETTINGS_MODE:o} {directory}",
        )
    else:
        yield AlreadySo(f"{directory}, for settings and secrets")


def _give(machine: Machine, real: Path, owner: str, mode: int) -> None:
    """Make a directory if it is missing; give it to its owner and the group of the services."""
    user, group = machine.user(owner), machine.group(SERVICE_USER)
    if user is None or group is None:
        raise SetupFailed(
            f"{real}: the user {owner} or the group {SERVICE_USER} is missing; run again"
        )
    real.parent.mkdir(parents=True, exist_ok=True)
    real.mkdir(mode=0o700, exist_ok=True)
    # Through a descriptor: the owner of a directory above could put a link in its place.
    descriptor = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, user.uid, group)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
