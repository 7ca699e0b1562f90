"""The findings of the doctor, one for each step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class DoctorVerdict(StrEnum):
    """The result of a step."""

    OK = "ok"
    NOTE = "note"
    """The step works, but an administrator should know about it."""
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorFinding:
    """One step and its result."""

    step: str
    verdict: DoctorVerdict
    text: str
    """One line for people."""
    seconds: float = 0.0
    remedy: str = ""
    """The remedy; empty: none is needed."""
    details: Mapping[str, object] = field(default_factory=dict[str, object])
    """The facts for programs: numbers, texts and lists of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """All findings about one server."""

    server: str
    findings: tuple[DoctorFinding, ...]

    @property
    def well(self) -> bool:
        """True if no step had a problem."""
        return all(finding.verdict is not DoctorVerdict.PROBLEM for finding in self.findings)
