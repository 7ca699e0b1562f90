"""Records the findings of an examination, with the time of each step."""

import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from emailrelay_forwarder.doctor.finding import DoctorFinding, DoctorVerdict
from emailrelay_forwarder.doctor.remedies import remedy_for
from emailrelay_forwarder.session.session_error import SessionError

_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3} ")


@dataclass(slots=True, kw_only=True)
class ExaminationRecord:
    """The findings about one server; its port selects some remedies."""

    port: str
    findings: list[DoctorFinding] = field(default_factory=list[DoctorFinding])
    _since: float = 0.0

    def start(self, *, seconds_ago: float = 0.0) -> None:
        """Begin to measure the time of a step."""
        self._since = time.perf_counter() - seconds_ago

    @contextmanager
    def paused(self) -> Generator[None]:
        """Exclude the block from the time of the step."""
        began = time.perf_counter()
        yield
        self._since += time.perf_counter() - began

    def error(
        self,
        step: str,
        trouble: SessionError,
        verdict: DoctorVerdict = DoctorVerdict.PROBLEM,
        *,
        remedy: str = "",
    ) -> None:
        """Add the finding of a step that failed, with its remedy if one is known."""
        known = remedy_for(trouble.step, trouble.reply, port=self.port, ours=trouble.ours)
        self.note(step, verdict, error_text(trouble), remedy=remedy or known)

    def note(
        self,
        step: str,
        verdict: DoctorVerdict,
        text: str,
        *,
        remedy: str = "",
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Add a finding, and begin the next step."""
        seconds = time.perf_counter() - self._since
        self.findings.append(
            DoctorFinding(
                step=step,
                verdict=verdict,
                text=text,
                seconds=seconds,
                remedy=remedy,
                details=details or {},
            )
        )
        self.start()


def error_text(trouble: SessionError) -> str:
    """Return the error text; only a server's reply keeps its codes."""
    if trouble.ours:
        return _ENHANCED.sub("", trouble.reply.text, count=1)
    return f"the server said: {trouble.reply}"
