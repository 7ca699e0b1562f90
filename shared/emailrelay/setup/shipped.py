"""The files that come with the commands: units, examples, manual pages.

In a checkout they are read where they lie, so that a change needs no new installation. Otherwise
they are data files of the wheel: pip puts them into ``share/`` of the environment and writes their
places down.
"""

import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import cast

import emailrelay
from emailrelay.setup.machine import SetupFailed

_DISTRIBUTION = "emailrelay"
_SHARE = PurePosixPath("share")
OURS = _SHARE / "emailrelay"
"""The folder of the files that no other program looks for."""


def files() -> Mapping[PurePosixPath, Path]:
    """Return the place of each file by its name below the prefix (``share/emailrelay/…``).

    Raises:
        SetupFailed: the installation has no such files.

    """
    checkout = Path(emailrelay.__file__).parents[2]
    found = dict(_of_checkout(checkout) or _of_wheel())
    if not found:
        raise SetupFailed("the installation has no units and examples; install emailrelay again")
    return dict(sorted(found.items()))


def commands() -> list[str]:
    """Return the names of all commands."""
    points = metadata.distribution(_DISTRIBUTION).entry_points
    return sorted(point.name for point in points if point.group == "console_scripts")


def _of_checkout(checkout: Path) -> Mapping[PurePosixPath, Path]:
    try:
        settings = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))
        wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
        if settings["project"]["name"] != _DISTRIBUTION:
            return {}
    except (OSError, KeyError, ValueError):
        return {}
    found = dict[PurePosixPath, Path]()
    for source, target in cast("dict[str, str]", wheel["shared-data"]).items():
        found |= _below(checkout / source, PurePosixPath(target))
    return found


def _below(place: Path, name: PurePosixPath) -> Iterator[tuple[PurePosixPath, Path]]:
    if place.is_file():
        yield name, place
        return
    for path in place.rglob("*"):
        if path.is_file():
            yield name / path.relative_to(place).as_posix(), path


def _of_wheel() -> Iterator[tuple[PurePosixPath, Path]]:
    for recorded in metadata.files(_DISTRIBUTION) or ():
        parts = [part for part in recorded.parts if part != ".."]
        if parts[0] == _SHARE.name:
            yield PurePosixPath(*parts), Path(str(recorded.locate())).resolve()
