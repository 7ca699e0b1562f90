"""Judges services by their status files: whether they work, and whether they do their job.

Plain rules without I/O. Times are seconds on the monotonic clock of this host.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from emailrelay.process_state import in_words
from emailrelay.service_status import ServiceStatus

Found: TypeAlias = ServiceStatus | str
"""A service's status, or the reason why there is none."""


@dataclass(frozen=True, slots=True)
class HealthAnswer:
    """The answer for one service, with its reason or its present work."""

    well: bool
    reason: str


Question: TypeAlias = Callable[[Found, float], HealthAnswer]


def works(found: Found, now: float) -> HealthAnswer:
    """Judge whether the processes of a service have shown life (``/healthz``)."""
    if isinstance(found, str):
        return HealthAnswer(well=False, reason=found)
    silence = now - found.written
    # A time in the future is from before the last start of this host.
    if not 0 <= silence <= found.limit:
        age = f"for {silence:.0f} s" if silence > 0 else "since this host started"
        return HealthAnswer(well=False, reason=f"process {found.pid} gave no sign of life {age}")
    if not found.processes:
        return HealthAnswer(well=False, reason="none of its processes works")
    for each in found.processes:
        if each.age > found.limit:
            reason = f"process {each.pid} has done nothing for {each.age:.0f} s"
            return HealthAnswer(well=False, reason=reason)
    words = in_words([each.state for each in found.processes]) or "works"
    missing = found.wanted - len(found.processes)
    if missing > 0:
        words = f"{words}; {missing} of {found.wanted} processes start again"
    return HealthAnswer(well=True, reason=words)


def does_its_job(found: Found, now: float) -> HealthAnswer:
    """Judge whether a service does its job (``/readyz``)."""
    judged = works(found, now)
    if not judged.well or isinstance(found, str):
        return judged
    if not found.ready:
        return HealthAnswer(well=False, reason="starts or stops")
    for each in found.processes:
        if each.state.trouble:
            return HealthAnswer(well=False, reason=each.state.trouble)
    return judged


def report(
    services: Mapping[str, Found],
    question: Question,
    now: float,
    others: Mapping[str, HealthAnswer],
) -> tuple[bool, dict[str, object]]:
    """Return the answer for all services as JSON's values, and whether all is well.

    ``others`` are judged already, such as the store.
    """
    judged = {name: question(found, now) for name, found in services.items()} | dict(others)
    well = all(each.well for each in judged.values())
    named = {name: {"ok": each.well, "reason": each.reason} for name, each in judged.items()}
    return well, {"ok": well, "services": named}
