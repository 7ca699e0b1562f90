"""Links to commands, manual pages and other files of an environment that programs do not search."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from emailrelay.setup.machine import Machine
from emailrelay.setup.step import AlreadySo, LeftAlone, SetupSteps, StepToTake

LOCAL = Path("/usr/local")
_ELSEWHERE = {PurePosixPath("share/fish/vendor_completions.d"): Path("/etc/fish/completions")}
"""Folders that programs do not search below ``/usr/local``: fish needs XDG_DATA_DIRS for that."""
_FISH = Path("/etc/fish/completions")
_STAY = frozenset(
    {Path("/"), Path("/etc"), LOCAL, LOCAL / "bin", LOCAL / "share", LOCAL / "share/man"}
)
"""Folders that stay when they are empty: each machine has them."""
_SEARCHED = (LOCAL, Path("/usr"), Path("/"))


def of_commands(bin_dir: Path, names: Iterable[str]) -> Mapping[Path, Path]:
    """Return the target of each link that puts the commands on the ``PATH``."""
    if bin_dir.parent in _SEARCHED:
        return {}
    return {LOCAL / "bin" / name: bin_dir / name for name in names}


def of_files(shipped: Mapping[PurePosixPath, Path], ours: PurePosixPath) -> Mapping[Path, Path]:
    """Return the target of each link for pages and the like, which other programs look for."""
    return {
        _searched(name): place
        for name, place in shipped.items()
        if not name.is_relative_to(ours) and place not in (LOCAL / name, Path("/usr") / name)
    }


def _searched(name: PurePosixPath) -> Path:
    return _ELSEWHERE.get(name.parent, LOCAL / name.parent) / name.name


def set_up(machine: Machine, noun: str, links: Mapping[Path, Path]) -> SetupSteps:
    """Yield the steps that make the links; ``noun`` names what they lead to."""
    missing = {
        link: target
        for link, target in links.items()
        if not machine.exists(link) or is_ours(machine, link, target)
        if machine.links_to(link) != target
    }
    others = {
        link: target
        for link, target in links.items()
        if link not in missing and machine.links_to(link) != target
    }
    if missing:
        folders = ", ".join(sorted({str(link.parent) for link in missing}))
        text = f"link {len(missing)} {noun} into {folders}"
        yield StepToTake(text, partial(_make_all, machine, missing))
    elif len(others) < len(links):
        yield AlreadySo(f"the links to {noun}")
    for link in others:
        yield LeftAlone(
            f"{link}: another program's file", "move it away, then run this command again"
        )


def take_down(machine: Machine, noun: str, links: Mapping[Path, Path]) -> SetupSteps:
    """Yield the step that removes those of the links that are there, and then empty folders."""
    present = [link for link, target in links.items() if machine.links_to(link) == target]
    if present:
        folders = ", ".join(sorted({str(link.parent) for link in present}))
        text = f"remove {len(present)} links to {noun} from {folders}"
        if any(link.parent not in _STAY for link in present):
            text += ", and the folders that are empty then"
        yield StepToTake(text, partial(_remove_all, machine, present))


def is_ours(machine: Machine, link: Path, target: Path) -> bool:
    """Tell if a link leads to a file of this name, in this or another installation of the relay."""
    present = machine.links_to(link)
    return present is not None and present.name == target.name


def make_link(machine: Machine, link: Path, target: Path) -> None:
    """Make a link, or put it in the place of another one."""
    real = machine.real(link)
    scratch = real.with_name(f".{real.name}.new")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(target)
    scratch.replace(real)


def _make_all(machine: Machine, links: Mapping[Path, Path]) -> None:
    for link, target in links.items():
        machine.real(link).parent.mkdir(parents=True, exist_ok=True)
        make_link(machine, link, target)


def _remove_all(machine: Machine, links: Iterable[Path]) -> None:
    links = list(links)
    for link in links:
        machine.real(link).unlink(missing_ok=True)
    for folder in {link.parent for link in links}:
        _remove_empty(machine, folder)


def _remove_empty(machine: Machine, folder: Path) -> None:
    """Remove an empty folder and its parents as far as ``_STAY``."""
    while folder not in _STAY:
        if folder == _FISH and len(list(machine.real(folder.parent).iterdir())) > 1:
            return  # fish is installed, and the folder belongs to its package
        try:
            machine.real(folder).rmdir()
        except OSError:  # others use it
            return
        folder = folder.parent
