"""The clock jumps under running services: old and new mail leaves, and none arrives twice."""

import os
from pathlib import Path

import pytest
from tests.acceptance.relay import Relay
from tests.acceptance.source import Load, Mail, assert_each_arrived_once
from tests.faults.extent import extent
from tests.faults.report import Report
from tests.faults.trio import CHAIN, edited_once

LIBRARIES = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
JUMPS = extent(["-1h"], ["-1h", "+1h", "-20y", "+10y"])
"""From daylight saving done wrongly to a machine without a battery."""
WAITING = 10
NEW = 20


class Clock:
    """The time of day for processes with its ``environment``; their monotonic clock runs on."""

    def __init__(self, directory: Path, library: Path) -> None:
        self._file = directory / "clock"
        self.jump("+0s")
        self.environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # The kernel goes on to stamp files with a time that is not theirs any more.
            "NO_FAKE_STAT": "1",
            "FAKE_UTIME": "0",
        }

    def jump(self, by: str) -> None:
        """Set the time of day, relative to the true one; atomically, since each call reads it."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{by}\n")
        new.rename(self._file)


def later(mail: Mail) -> list[str]:
    return [f"later{mail.number}@sink.test"]


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_of_the_clock_holds_no_mail_up(relay: Relay, report: Report, jump: str) -> None:
    if not LIBRARIES:
        pytest.skip("needs faketime")
    clock = Clock(relay.directory, LIBRARIES[0])
    sink = relay.sink().start()
    receiver, filterd = relay.receiver(*CHAIN), relay.filterd(*CHAIN)
    forwarder = relay.forwarder(sink.port, "--retry-first", "5", "--retry-longest", "5")
    for service in (receiver, filterd, forwarder):
        service.env = clock.environment
        service.start()
    acknowledged = Load(receiver.port, WAITING, sessions=2, size=500, recipients=later).run()
    forwarder.hear("deferred", WAITING)

    clock.jump(jump)
    acknowledged |= Load(receiver.port, NEW, sessions=2, first=100, size=500).run()
    relay.drained()
    clock.jump("+0s")
    acknowledged |= Load(receiver.port, NEW, sessions=2, first=200, size=500).run()
    relay.drained()
    assert [service.stop() for service in (receiver, forwarder)] == [0, 0]
    filterd.clear_away()  # libfaketime lets no process sleep until a moment, as its end does

    assert_each_arrived_once(acknowledged, sink.arrivals(), edits=edited_once)
    tries = len(forwarder.events("deferred"))
    report.figure(
        f"the clock jumps by {jump} and back", f"{len(acknowledged)} arrived, {tries} put off"
    )
    # No storm of tries: each was put off by the server once.
    assert tries == WAITING
    jumped = {h["timestamp"][:4] for s in relay.services for h in s.events("delivered")}
    assert len(jumped) == (1 if jump.endswith("h") else 2), "the services saw the jump"
    assert relay.possible_duplicates() == set()
    assert [name for name in relay.scraps() if not name.startswith(".wake/")] == []
