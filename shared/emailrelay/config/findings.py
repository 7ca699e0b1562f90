"""The findings of a check of the settings: what would stop a service or hurt its work."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from emailrelay.errors import ConfigError

_MISSING = re.compile(r"--\S+ \(in a file: (\w+)\): ")
"""The beginning of a problem with a value that no source has."""


class FindingLevel(StrEnum):
    """The weight of a finding."""

    PROBLEM = "problem"
    """The service does not start, or does not do its work."""
    WARNING = "warning"
    """The service starts, but something deserves attention."""


@dataclass(frozen=True, slots=True)
class SettingFinding:
    """One fact about a setting; the text says what to do."""

    setting: str
    """The name of the setting; empty if the finding is about none or several."""
    text: str
    level: FindingLevel = FindingLevel.PROBLEM
    source: str = ""
    """Where the value comes from; empty: it is filled in by ``with_source``."""

    def __str__(self) -> str:
        return f"{self.source}: {self.text}" if self.source else self.text


class CheckScope(NamedTuple):
    """The parts of a check that the caller makes itself are off: it has other rights."""

    ports: bool = True
    """Try the TCP addresses and the inherited sockets to listen on."""
    store: bool = True
    """Try the store."""


def warning(setting: str, text: str) -> SettingFinding:
    """Return a finding that does not stop the service."""
    return SettingFinding(setting, text, FindingLevel.WARNING)


def of_error(setting: str, error: ConfigError) -> Iterator[SettingFinding]:
    """Yield a finding for each problem of a setting that cannot be used."""
    return (SettingFinding(setting, problem) for problem in error.problems)


def of_line(line: str, places: Mapping[str, str]) -> SettingFinding:
    """Return the finding for a problem with the settings themselves; the line names its place."""
    for name, place in places.items():
        if line.startswith(f"{place}: "):
            return SettingFinding(name, line.removeprefix(f"{place}: "), source=place)
    missing = _MISSING.match(line)
    if missing:
        return SettingFinding(missing[1], line.removeprefix(missing[0]), source=missing[0][:-2])
    return SettingFinding("", line)


def with_source(finding: SettingFinding, places: Mapping[str, str]) -> SettingFinding:
    """Return the finding with the source of its setting."""
    if finding.source or not finding.setting:
        return finding
    source = places.get(finding.setting, f"{finding.setting} (default)")
    return SettingFinding(finding.setting, finding.text, finding.level, source)
