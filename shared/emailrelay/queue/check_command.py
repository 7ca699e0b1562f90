"""The command ``check``, a plugin for monitoring systems."""

import signal
import time
from argparse import Namespace
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from emailrelay.errors import RelayError, StoreError, reason_of
from emailrelay.queue.health import (
    HealthLimits,
    HealthStatus,
    Limits,
    Measure,
    health_line,
    measures,
    severity,
    unknown_line,
)
from emailrelay.queue.place import look
from emailrelay.queue.totals import totals
from emailrelay.terminal.output import print_json, print_line


def check(asked: Namespace) -> int:
    """Print one line about the queue; return 0 (OK), 1 (WARNING), 2 (CRITICAL), 3 (UNKNOWN)."""
    try:
        with _at_most(asked.timeout):
            found = _measured(asked)
        status, line = severity(found), health_line(found)
    except (RelayError, OSError) as error:
        return unknown(reason_of(error), as_json=asked.json)
    except Exception as error:  # noqa: BLE001 -- a traceback ends with 1, which means WARNING
        return unknown(f"the check has failed: {error!r}", as_json=asked.json)
    if asked.json:
        print_json({"status": status.name, "measures": list(map(_as_json, found))})
    else:
        print_line(line)
    return status


def unknown(reason: str, *, as_json: bool = False) -> int:
    """Print that the state is unknown, and why; return 3."""
    if as_json:
        print_json({"status": HealthStatus.UNKNOWN.name, "reason": reason})
    else:
        print_line(unknown_line(reason))
    return HealthStatus.UNKNOWN


def _measured(asked: Namespace) -> list[Measure]:
    limits = HealthLimits(
        oldest=Limits(asked.warning, asked.critical),
        waiting=Limits(asked.warning_waiting, asked.critical_waiting),
        failed=Limits(asked.warning_failed, asked.critical_failed),
        free=Limits(asked.warning_free, asked.critical_free),
    )
    now = time.time()
    with look(asked) as view:
        found = totals(view.counts(now, names_only=True))
        if view.missing is not None:
            raise StoreError("count the whole queue, a part is missing", view.missing)
        return measures(found, view.free(), limits, now)


def _as_json(measure: Measure) -> dict[str, object]:
    return {
        "name": measure.label,
        "value": measure.value,
        "unit": measure.unit,
        "warning": measure.limits.warning,
        "critical": measure.limits.critical,
        "status": measure.severity.name,
    }


@contextmanager
def _at_most(seconds: float) -> Generator[None]:
    """End the block after this time, before the monitoring system kills the plugin.

    Raises:
        TimeoutError: the time is over.

    """

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
