"""Times in the log: the time of day for people, seconds for programs."""

import json
import os
import re

import pytest

from emailrelay.config import LogFormat
from emailrelay.events.delivery import Deferred
from emailrelay.events.event import Level
from emailrelay.logs import line_reporter, renderer
from emailrelay.queue_id import QueueId

LATER = 1795906442.242922
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def line(log_format: LogFormat, moment: float) -> str:
    reading, writing = os.pipe()
    report = line_reporter(
        service="forwarder",
        render=renderer(log_format),
        timed=False,
        least=Level.INFO,
        descriptor=writing,
    )
    report(Deferred(id=QueueId("1.2.3"), reason="busy", next_attempt=moment))
    os.close(writing)
    with os.fdopen(reading) as end:
        return COLOUR.sub("", end.read())


@pytest.mark.parametrize("log_format", [LogFormat.LOGFMT, LogFormat.CONSOLE])
def test_people_read_a_time_of_day(log_format: LogFormat) -> None:
    assert "next_attempt=2026-11-28T22:54:02Z" in line(log_format, LATER)
    assert "next_attempt=1e+300" in line(log_format, 1e300), "a time of no calendar"


def test_programs_read_seconds() -> None:
    assert json.loads(line(LogFormat.JSON, LATER))["next_attempt"] == LATER
