"""What is wrong with settings, in sentences: the place, what stands there, what may stand there."""

import difflib
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from emailrelay.config import flags
from emailrelay.config.options import SERVICES, Settings

_PREFIX = "EMAILRELAY_"
_OF_FILTERS = frozenset({"EMAILRELAY_ID", "EMAILRELAY_RUN"})
"""What filter programs find in their environment (docs/filters.md), and pass on to commands of ours."""
_SHOWN = 80
"""So much of a bad value is shown, in characters. No option holds a secret: they have files of their own."""


def variable(name: str) -> str:
    """Return the environment variable of a field: ``spool_dir`` is ``EMAILRELAY_SPOOL_DIR``."""
    return _PREFIX + name.upper()


def of_command_line(settings: type[Settings], asked: flags.CommandLine) -> list[str]:
    """Return what is wrong with the shape of the command line."""
    missing = [f"{flags.flag(name)}: needs a value" for name in asked.without_value]
    return missing + [_stranger(settings, word) for word in asked.unknown]


def of_environment(environ: Iterable[str]) -> list[str]:
    """Return the variables that look like a slip of the pen.

    Others put names with our prefix into environments as well (Kubernetes for a service called
    emailrelay, filterd for its filters), so a name that resembles no option is none of ours.
    """
    names = {variable(name) for name in [*_all_names(), "config"]}
    known = names | _OF_FILTERS
    strange = sorted(name for name in environ if name.startswith(_PREFIX) and name not in known)
    return [
        f"{name}: there is no such option{meant}"
        for name in strange
        if (meant := _meant(name, names))
    ]


def of_keys(keys: Iterable[str], path: str) -> list[str]:
    """Return the keys of a file that are no service's option."""
    names = _all_names()
    return [
        f"{key} in {path}: there is no such option{_meant(key.replace('-', '_'), names)}"
        for key in keys
        if key not in names
    ]


def of_values(error: ValidationError, places: Mapping[str, str]) -> list[str]:
    """Return what is wrong with values, each at its place (by field name)."""
    found: list[str] = []
    for detail in error.errors(include_url=False, include_context=False):
        name = str(detail["loc"][0])
        said = detail["msg"].removeprefix("Value error, ")
        said = said.replace("Input should be", "must be", 1)
        if name in places:
            found.append(f"{places[name]}: {_shown(detail['input'])}: {said}")
        else:
            found.append(f"{flags.flag(name)} (in a file: {name}): {said}")
    return found


def _stranger(settings: type[Settings], word: str) -> str:
    option = word.split("=", 1)[0]
    if not option.startswith("-"):
        return f"{word}: unexpected; options begin with --"
    name = option.removeprefix("--").replace("-", "_")
    owners = [service.program for service in SERVICES if name in service.model_fields]
    if owners:
        return f"{option}: is an option of {' and '.join(owners)}"
    own = {flags.flag(name) for name in [*settings.model_fields, "config", "check_config"]}
    return f"{option}: there is no such option{_meant(option, own)}"


def _all_names() -> set[str]:
    return {name for service in SERVICES for name in service.model_fields}


def _meant(word: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else ""


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
