"""The line for monitoring systems, and the judgement behind it."""

import re

import pytest

from emailrelay.queue.health import (
    HealthLimits,
    HealthStatus,
    Limits,
    health_line,
    measures,
    severity,
    unknown_line,
)
from emailrelay.queue.totals import Totals

NOW = 1_700_000_000.0
NOTHING = {name: Totals() for name in ("unfiltered", "ready", "deferred", "held", "failed", "all")}
LIMITS = HealthLimits(
    oldest=Limits(900, 3600), waiting=Limits(10, 100), failed=Limits(0, None), free=Limits(10, 5)
)
PERFORMANCE = re.compile(r"[a-z]+=[0-9.]+(?:s|%)?;(?:[0-9.]+:?)?;(?:[0-9.]+:?)?;0")
"""One value by the guidelines: 'label'=value[UOM];[warn];[crit];[min]."""


@pytest.mark.parametrize(
    ("state", "total", "free", "status"),
    [
        ("ready", Totals(), (50, 100), HealthStatus.OK),
        ("ready", Totals(1, 10, NOW - 900), (50, 100), HealthStatus.OK),
        ("unfiltered", Totals(1, 10, NOW - 901), (50, 100), HealthStatus.WARNING),
        ("deferred", Totals(1, 10, NOW - 3601), (50, 100), HealthStatus.CRITICAL),
        ("held", Totals(500, 10, NOW - 1e6), (50, 100), HealthStatus.OK),
        ("failed", Totals(1, 10, NOW - 1e6), (50, 100), HealthStatus.WARNING),
        ("ready", Totals(11, 10, NOW), (50, 100), HealthStatus.WARNING),
        ("ready", Totals(101, 10, NOW), (50, 100), HealthStatus.CRITICAL),
        ("ready", Totals(), (9, 100), HealthStatus.WARNING),
        ("ready", Totals(), (4, 100), HealthStatus.CRITICAL),
        ("ready", Totals(), None, HealthStatus.OK),
        ("ready", Totals(), (0, 0), HealthStatus.OK),
        ("ready", Totals(1, 10, NOW + 1e6), (50, 100), HealthStatus.OK),
    ],
)
def test_each_measure_is_judged_by_its_limits(
    state: str, total: Totals, free: tuple[int, int] | None, status: HealthStatus
) -> None:
    found = measures({**NOTHING, state: total}, free, LIMITS, NOW)
    assert severity(found) is status
    line = health_line(found)
    text, _, data = line.partition(" | ")
    assert text.startswith(f"EMAILRELAY {status.name} - ")
    assert all(map(PERFORMANCE.fullmatch, data.split(" "))), data


def test_line_tells_numbers_and_limits() -> None:
    totals = {**NOTHING, "ready": Totals(3, 10, NOW - 120), "held": Totals(1, 1, NOW)}
    assert health_line(measures(totals, (1024**3 * 45, 1024**3 * 100), LIMITS, NOW)) == (
        "EMAILRELAY OK - 3 messages waiting, the oldest for 2 min, 0 failed, 1 held,"
        " 45 GiB free (45 %) | oldest=120s;900;3600;0 waiting=3;10;100;0 failed=0;0;;0 held=1;;;0"
        " free=45%;10:;5:;0"
    )


def test_reason_cannot_begin_performance_data() -> None:
    assert unknown_line("a|b") == "EMAILRELAY UNKNOWN - a/b"
