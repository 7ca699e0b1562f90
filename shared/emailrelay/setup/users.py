"""The user and the group of the services."""

from functools import partial
from pathlib import Path

from emailrelay.setup.machine import Machine
from emailrelay.setup.step import AlreadySo, LeftAlone, SetupSteps, StepToTake
from emailrelay.spool_owner import SERVICE_USER

_COMMENT = "E-MailRelay"
"""In passwd(5). A user with this comment is one that the set-up has made, and may remove."""


def set_up(machine: Machine, home: Path) -> SetupSteps:
    """Yield the steps that make the group and the user."""
    if machine.group(SERVICE_USER) is None:
        words = ("groupadd", *_where(machine), "--system", SERVICE_USER)
        yield StepToTake(f"create the group {SERVICE_USER}", partial(machine.run, *words))
    else:
        yield AlreadySo(f"the group {SERVICE_USER}")
    if machine.user(SERVICE_USER) is None:
        words = (
            *(
                "useradd",
                *_where(machine),
                "--system",
                "--gid",
                SERVICE_USER,
                "--home-dir",
                str(home),
            ),
            *(
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
                "--comment",
                _COMMENT,
                SERVICE_USER,
            ),
        )
        yield StepToTake(
            f"create the user {SERVICE_USER} for the services", partial(machine.run, *words)
        )
    else:
        yield AlreadySo(f"the user {SERVICE_USER}")


def take_down(machine: Machine, still_owns: Path | None) -> SetupSteps:
    """Yield the steps that remove them, unless the user owns ``still_owns``."""
    user = machine.user(SERVICE_USER)
    if user is None:
        return
    by_hand = f"when no file of this user is left: userdel {SERVICE_USER}"
    if user.comment != _COMMENT:
        yield LeftAlone(f"the user {SERVICE_USER}: this command did not create it", by_hand)
    elif still_owns is not None:
        yield LeftAlone(f"the user {SERVICE_USER}: it owns {still_owns}", by_hand)
    else:
        words = ("userdel", *_where(machine), SERVICE_USER)
        yield StepToTake(
            f"remove the user {SERVICE_USER} and its group", partial(_remove, machine, words)
        )


def _remove(machine: Machine, words: tuple[str, ...]) -> None:
    machine.run(*words)
    if machine.group(SERVICE_USER) is not None:  # userdel removes it, if login.defs(5) says so
        machine.run("groupdel", *_where(machine), SERVICE_USER)


def _where(machine: Machine) -> tuple[str, ...]:
    return () if machine.is_this_one else ("--prefix", str(machine.root))
