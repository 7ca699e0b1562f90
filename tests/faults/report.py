"""The measurements of a run, for the page on reliability: one line per figure."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.faults.extent import LONG


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of one test; they are appended to ``path``, and shown with the test's output."""

    path: Path
    test: str

    def figure(self, what: str, value: str) -> None:
        extent = "long" if LONG else "short"
        line = f"{extent} {self.test}: {what}: {value}\n"
        sys.stdout.write(line)
        self.path.parent.mkdir(exist_ok=True)
        # One write a line: several processes may run tests.
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
