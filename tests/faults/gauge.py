"""The resources of a process: memory, descriptors, threads."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

KIB = 1024
MIB = 1024 * KIB
_ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class Gauge:
    """A reading. Memory in octets: ``resident`` now, ``peak`` the most since ``forget_peak``."""

    resident: int
    peak: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Self:
        status = Path(f"/proc/{pid}/status").read_text()
        return cls(
            resident=_figure(status, "VmRSS") * KIB,
            peak=_figure(status, "VmHWM") * KIB,
            descriptors=len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 -- they are counted only
            threads=_figure(status, "Threads"),
        )

    def __str__(self) -> str:
        return (
            f"{self.resident / MIB:.1f} MiB (peak {self.peak / MIB:.1f}), "
            f"{self.descriptors} descriptors, {self.threads} threads"
        )


def forget_peak(pid: int) -> None:
    """Let the peak begin anew, at the present resident memory (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def connections_to(port: int) -> int:
    """Count this machine's open connections to one of its own ports."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == _ESTABLISHED and row[2].endswith(f":{port:04X}") for row in rows)


def _figure(status: str, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    assert match is not None
    return int(match[1])
