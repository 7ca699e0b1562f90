"""What the doctor finds: one value for each step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class DoctorVerdict(StrEnum):
    """How a step went."""

    OK = "ok"
    NOTE = "note"
    """It works, but somebody may want to know."""
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
    """What to do; empty: nothing."""
    details: Mapping[str, object] = field(default_factory=dict[str, object])
    """The same for programs: numbers, texts and lists of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """All findings about one server."""

    server: str
    findings: tuple[DoctorFinding, ...]

    @property
    def well(self) -> bool:
        """Whether no step had a problem."""
        return all(finding.verdict is not DoctorVerdict.PROBLEM for finding in self.findings)
