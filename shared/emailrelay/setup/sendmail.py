"""The names by which programs send mail: ``sendmail``, ``mailq`` and ``newaliases``.

Another program's file is replaced only on request. Three ways keep it for a later undo: the
system's alternatives (update-alternatives(1)), a diversion of a package's file (dpkg-divert(1)),
and a new name.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from emailrelay.setup.links import is_ours, make_link
from emailrelay.setup.machine import Machine
from emailrelay.setup.step import AlreadySo, LeftAlone, SetupStep, SetupSteps, StepToTake

NAMES = tuple(
    map(Path, ("/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/mailq", "/usr/bin/newaliases"))
)
_SENDMAIL = NAMES[0]
_CHOSEN = Path("/etc/alternatives")
_PRIORITY = "10"
"""Below the mail servers of distributions (30 and more): another one stays in force."""
_DIVERTED = ".distrib"
_RENAMED = ".before-emailrelay"


def set_up(machine: Machine, submit: Path, *, replace: bool) -> SetupSteps:
    """Yield the steps that make the names lead to ``submit``, the path of emailrelay-submit."""
    if (group := _group(machine)) is not None:
        yield from _register(machine, group, submit, replace=replace)
        return
    for name in NAMES:
        if machine.real(name.parent).is_dir():
            yield _linked(machine, name, submit, replace=replace)


def take_down(machine: Machine, submit: Path) -> SetupSteps:
    """Yield the steps that give the names back to the programs that had them before."""
    if (group := _group(machine)) is not None:
        if str(submit) in _alternatives(machine, group):
            text = f"remove the alternative {submit} for {_SENDMAIL}"
            yield StepToTake(text, partial(_alternative, machine, "--remove", group, str(submit)))
        return
    for name in NAMES:
        if machine.links_to(name) == submit:
            yield StepToTake(f"remove the link {name}", machine.real(name).unlink)
            yield from _given_back(machine, name)


def _linked(machine: Machine, name: Path, submit: Path, *, replace: bool) -> SetupStep:
    link = partial(make_link, machine, name, submit)
    if machine.links_to(name) == submit:
        return AlreadySo(f"{name}, a link to {submit}")
    if not machine.exists(name) or is_ours(machine, name, submit):
        return StepToTake(f"link {name} to {submit}", link)
    package = _package_of(machine, name)
    if not replace:
        owner = f"of the package {package}" if package else "of another program"
        return LeftAlone(
            f"{name} {owner}", "--replace-sendmail replaces it, and --undo restores it"
        )
    kept = f"{name}{_DIVERTED if package else _RENAMED}"

    def divert() -> None:
        if package:
            words = ("--local", "--rename", "--divert", kept, "--add", str(name))
            machine.run("dpkg-divert", *_where(machine), *words)
        else:
            machine.real(name).rename(machine.real(Path(kept)))
        link()

    return StepToTake(f"link {name} to {submit}; the present {name} becomes {kept}", divert)


def _given_back(machine: Machine, name: Path) -> SetupSteps:
    kept = Path(f"{name}{_RENAMED}")
    if machine.exists(kept):
        back = partial(machine.real(kept).rename, machine.real(name))
        yield StepToTake(f"rename {kept} to {name}", back)
    elif machine.exists(diverted := Path(f"{name}{_DIVERTED}")):
        words = ("dpkg-divert", *_where(machine), "--local", "--rename", "--remove", str(name))
        yield StepToTake(
            f"give {name} back to the package of {diverted}", partial(machine.run, *words)
        )


def _package_of(machine: Machine, name: Path) -> str | None:
    """Return the Debian package that a file belongs to, if there is one."""
    if not machine.has_program("dpkg-query") or not machine.has_program("dpkg-divert"):
        return None
    status, said = machine.try_run("dpkg-query", *_where(machine), "--search", str(name))
    line = said.splitlines()[-1] if not status and said else ""
    package, colon, _ = line.partition(": ")
    return package if colon else None


def _where(machine: Machine) -> tuple[str, ...]:
    return () if machine.is_this_one else (f"--root={machine.root}",)


def _group(machine: Machine) -> str | None:
    """Return the alternatives' group that ``sendmail`` belongs to, if it does."""
    chosen = machine.links_to(_SENDMAIL)
    return chosen.name if chosen is not None and chosen.parent == _CHOSEN else None


def _register(machine: Machine, group: str, submit: Path, *, replace: bool) -> SetupSteps:
    others: list[str] = []
    for name in NAMES[1:]:
        chosen = machine.links_to(name)
        if chosen is not None and chosen.parent == _CHOSEN:
            others += ["--slave", str(name), chosen.name, str(submit)]
    if str(submit) in _alternatives(machine, group):
        yield AlreadySo(f"{submit} among the alternatives for {_SENDMAIL}")
    else:
        words = ("--install", str(_SENDMAIL), group, str(submit), _PRIORITY, *others)
        text = f"add {submit} to the alternatives for {_SENDMAIL}, with a low priority"
        yield StepToTake(text, partial(_alternative, machine, *words))
    current = machine.links_to(_CHOSEN / group)
    if current == submit:
        yield AlreadySo(f"{_SENDMAIL} leads to {submit}")
    elif replace:
        text = f"choose {submit} for {_SENDMAIL}, in place of {current}"
        yield StepToTake(text, partial(_alternative, machine, "--set", group, str(submit)))
    else:
        yield LeftAlone(
            f"{_SENDMAIL}: it leads to {current}",
            "--replace-sendmail chooses the relay, and --undo restores the other",
        )


def _alternatives(machine: Machine, group: str) -> Sequence[str]:
    """Return the paths that one can choose."""
    tool = _tool(machine)
    option = "--list" if tool == "update-alternatives" else "--display"
    status, said = machine.try_run(tool, *_root_of_alternatives(machine), option, group)
    return [] if status else [line.split(" ")[0] for line in said.splitlines()]


def _alternative(machine: Machine, *words: str) -> None:
    machine.run(_tool(machine), *_root_of_alternatives(machine), *words)


def _root_of_alternatives(machine: Machine) -> tuple[str, ...]:
    return () if machine.is_this_one else ("--root", str(machine.root))


def _tool(machine: Machine) -> str:
    """Return the name of the tool: Debian's, or that of Red Hat's family."""
    has_dpkg = machine.has_program("dpkg")
    return "update-alternatives" if has_dpkg else "alternatives"
