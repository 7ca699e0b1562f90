"""The log: one line for each event, limited and escaped; its errors never stop mail."""

import asyncio
import fcntl
import json
import logging
import mmap
import os
import re
import threading
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.config import FilterdSettings, LogFormat
from emailrelay.events.event import Event, Level, Report
from emailrelay.events.receiving import Received, Rejected, SessionTrouble
from emailrelay.events.service import Stopping, WorkerDied
from emailrelay.logs import FIELD_LIMIT, field_value, line_reporter, renderer, reporter
from emailrelay.queue_id import QueueId


class Quiet(Event):
    """An event for debugging."""

    level = Level.DEBUG


class Pipe:
    """A log with its reader."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def report(self, log_format: LogFormat = LogFormat.JSON, least: Level = Level.INFO) -> Report:
        return line_reporter(
            service="receiver",
            render=renderer(log_format),
            timed=False,
            least=least,
            descriptor=self.writing,
        )

    def lines(self) -> list[str]:
        os.close(self.writing)
        with os.fdopen(self.reading, "rb") as end:
            return end.read().decode().splitlines()


def test_an_event_is_named_for_its_class() -> None:
    assert WorkerDied.name == "worker_died"
    assert Stopping.name == "stopping"


def test_json_holds_the_fields_of_the_event_and_its_service() -> None:
    pipe = Pipe()

    pipe.report()(Rejected(command="RCPT", reply='550 "no"', client="127.0.0.1", port=9))

    (line,) = pipe.lines()
    assert json.loads(line) == {
        "level": "info",
        "event": "rejected",
        "service": "receiver",
        "pid": os.getpid(),
        "command": "RCPT",
        "reply": '550 "no"',
        "client": "127.0.0.1",
        "port": 9,
    }


def test_logfmt_quotes_what_holds_blanks() -> None:
    pipe = Pipe()

    pipe.report(LogFormat.LOGFMT)(SessionTrouble(client="::1", reason="went away"))

    (line,) = pipe.lines()
    assert line.startswith("level=warning event=session_trouble service=receiver ")
    assert line.endswith('client=::1 reason="went away"')


@pytest.mark.parametrize("log_format", LogFormat)
@given(text=st.text(max_size=50))
def test_one_event_is_one_line_whatever_a_peer_sent(log_format: LogFormat, text: str) -> None:
    pipe = Pipe()

    pipe.report(log_format)(SessionTrouble(client=text, reason=f"a\r\nb\x1b[2J\u202e{text}"))

    (line,) = pipe.lines()
    assert line.isprintable()


@given(st.text(max_size=3 * FIELD_LIMIT))
def test_a_field_is_bounded(text: str) -> None:
    shown = str(field_value(text * 4))

    assert len(shown) <= FIELD_LIMIT * len("\\u0000")
    assert shown.isprintable()


def test_a_cut_is_marked() -> None:
    assert str(field_value("x" * 5000)).endswith("x... (5000 characters)")
    assert len(str(field_value("x" * 5000))) == FIELD_LIMIT


def test_numbers_stay_numbers_and_all_else_becomes_text() -> None:
    assert field_value(2.5) == 2.5
    assert field_value(None) is None
    assert field_value(Level.INFO) == "info"
    assert field_value(["a\n"]) == "['a\\n']"


def test_debug_events_are_told_only_when_asked_for() -> None:
    quiet, verbose = Pipe(), Pipe()

    quiet.report()(Quiet())
    verbose.report(least=Level.DEBUG)(Quiet())

    assert quiet.lines() == []
    assert len(verbose.lines()) == 1


def test_a_closed_log_stops_nothing() -> None:
    pipe = Pipe()
    report = pipe.report()
    os.close(pipe.reading)

    report(Stopping(service="receiver"))

    os.close(pipe.writing)


def test_a_full_disk_of_the_log_stops_nothing() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    report = line_reporter(
        service="receiver",
        render=renderer(LogFormat.JSON),
        timed=False,
        least=Level.INFO,
        descriptor=descriptor,
    )

    report(Stopping(service="receiver"))

    os.close(descriptor)


def test_a_stuck_reader_loses_lines_and_is_told_how_many() -> None:
    pipe = Pipe()
    report = pipe.report()
    told = 0
    while told < 5000:
        report(Rejected(command="MAIL", reply="x" * 200, client="c"))
        told += 1

    # The reader comes back: it reads the contents of the pipe, and then the next line.
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(_until_closed(pipe.reading)))
    os.set_blocking(pipe.reading, False)
    held = os.read(pipe.reading, 1 << 20).decode().splitlines()
    os.set_blocking(pipe.reading, True)
    reader.start()
    report(Stopping(service="receiver"))
    os.close(pipe.writing)
    reader.join()

    stopping, dropped = (json.loads(line) for line in found)
    assert stopping["event"] == "stopping"
    assert dropped["event"] == "lines_dropped"
    assert dropped["lines"] == told - len(held)
    assert dropped["lines"] > 0


@pytest.mark.parametrize(
    "events",
    [
        [Received(id=QueueId(f"1.2.{n}"), size=1, client="c") for n in range(60)],
        [Rejected(command="MAIL", reply="\u4e2d" * FIELD_LIMIT, client="\u4e2d" * FIELD_LIMIT)],
    ],
)
def test_a_full_pipe_never_holds_up_a_service(events: Sequence[Event]) -> None:
    """More octets than the last free page takes: many lines together, or a long one."""
    pipe = Pipe()
    report = pipe.report()
    filled = fcntl.fcntl(pipe.writing, fcntl.F_GETPIPE_SZ) - mmap.PAGESIZE
    os.write(pipe.writing, b"x" * (filled - 1) + b"\n")

    async def in_one_turn() -> None:
        for event in events:
            report(event)

    writing = threading.Thread(target=asyncio.run, args=(in_one_turn(),))
    writing.start()
    writing.join(60)
    stuck = writing.is_alive()

    # The reader comes back.
    held = b""
    os.set_blocking(pipe.reading, False)
    while writing.is_alive() or len(held) < filled:
        with suppress(BlockingIOError):
            held += os.read(pipe.reading, 1 << 20)
        writing.join(0.01)
    os.set_blocking(pipe.reading, True)
    report(Stopping(service="receiver"))
    *_, stopping, dropped = (json.loads(line) for line in pipe.lines() if line)
    assert not stuck
    assert stopping["event"] == "stopping"
    assert dropped["event"] == "lines_dropped"
    assert dropped["lines"] == len(events) - (held.count(b"\n") - 1)


def _until_closed(descriptor: int) -> list[str]:
    with os.fdopen(descriptor, "rb") as end:
        return end.read().decode().splitlines()


def test_the_services_log_is_json_with_time_without_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)

    reporter(FilterdSettings())(Stopping(service="filterd"))

    line = json.loads(capfd.readouterr().out)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", line["timestamp"])
    assert line["service"] == "filterd"


@pytest.mark.parametrize("connected", [True, False])
def test_the_journal_gets_priorities_and_has_its_own_clock(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    connected: bool,
) -> None:
    status = os.fstat(1)
    inode = status.st_ino if connected else status.st_ino + 1  # as where a file takes the output
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{inode}")

    report = reporter(FilterdSettings())
    report(Stopping(service="filterd"))
    report(WorkerDied(service="filterd", pid=1, reason="killed"))

    lines = capfd.readouterr().out.splitlines()
    assert [line[:3] for line in lines] == (["<6>", "<3>"] if connected else ['{"t', '{"t'])
    assert ("timestamp" in lines[0]) is not connected


def test_warnings_of_libraries_are_lines_of_the_same_log(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    reporter(FilterdSettings())
    logging.getLogger("mail.log").info("sender: %s", "secret")
    logging.getLogger("watchdog").warning("lost\nevents")

    line = json.loads(capfd.readouterr().out)
    assert (line["event"], line["library"]) == ("library_trouble", "watchdog")
    assert line["text"] == "lost\\x0aevents"
