"""Events of the services as lines of the legacy log."""

import json
import time
from pathlib import Path
from string import Formatter

import pytest
from docs.generate.log_page import kinds

from emailrelay.classic import log_lines
from emailrelay.classic.command_line import parse
from emailrelay.classic.log_lines import ClassicLine, Severity, of_event, of_stderr_line, written
from emailrelay.classic.log_output import LogOutput, log_options
from emailrelay.events.event import Event
from emailrelay.events.sessions import Direction
from emailrelay.events.store import StoreTrouble

NOON = 1_700_000_000.25


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.__name__) for kind in kinds()])
def test_each_kind_of_event_is_one_readable_line(kind: type[Event]) -> None:
    told = {name: f"<{name}>" for name in kind.fields}
    line = of_event(json.dumps({"level": kind.level, "event": kind.name, **told}).encode())
    assert line is not None
    expected = {"warning": Severity.WARNING, "error": Severity.ERROR}
    assert line.severity is expected.get(kind.level, Severity.INFO)
    assert line.text
    assert "{" not in line.text


def test_each_kind_of_event_has_a_text_and_each_text_an_event() -> None:
    assert set(log_lines.TEXTS) == {kind.name for kind in kinds()}


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.__name__) for kind in kinds()])
def test_a_text_asks_only_for_what_its_event_has(kind: type[Event]) -> None:
    asked = {name for _, name, _, _ in Formatter().parse(log_lines.TEXTS[kind.name]) if name}
    assert asked <= {"service", *kind.fields}


@pytest.mark.parametrize("kind", ["rate_reached", "of_a_later_release"])
def test_a_point_in_time_is_told_as_time_of_day(kind: str) -> None:
    event = {"level": "info", "event": kind, "route": "isp", "rate": "30/m", "again": NOON}
    line = of_event(json.dumps(event).encode())
    assert line is not None
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOON)) in line.text
    assert str(int(NOON)) not in line.text


def test_a_complaint_is_told_without_what_a_terminal_obeys() -> None:
    line = of_stderr_line("bad \x1b[2J \u202e\n".encode())
    assert line == ClassicLine(Severity.ERROR, "bad \\x1b[2J \\u202e")


def test_an_event_of_a_later_release_is_told_with_all_it_has() -> None:
    octets = b'{"timestamp":"t","level":"info","event":"new_thing","service":"s","pid":1,"a":2}'
    assert of_event(octets) == ClassicLine(Severity.INFO, "new thing a=2")


def test_a_dialogue_reads_as_it_always_did() -> None:
    told = {"level": "debug", "event": "dialogue", "line": "EHLO x", "peer": "192.0.2.1:25"}
    line = of_event(json.dumps({**told, "direction": Direction.SENT}).encode())
    assert line == ClassicLine(Severity.INFO, 'tx>>: "EHLO x"', "192.0.2.1;25")
    line = of_event(json.dumps({**told, "direction": Direction.RECEIVED}).encode())
    assert line == ClassicLine(Severity.INFO, 'rx<<: "EHLO x"', "192.0.2.1;25")


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ({"event": "received", "client": "127.0.0.1", "port": 4711}, "127.0.0.1;4711"),
        ({"event": "dialogue", "peer": "127.0.0.1", "port": 4711}, "127.0.0.1;4711"),
        ({"event": "dialogue", "peer": "::1", "port": 4711}, "::1;4711"),
        ({"event": "dialogue", "peer": "mail.test:25"}, "mail.test;25"),
        ({"event": "dialogue", "peer": "[::1]:25"}, "[::1];25"),
        ({"event": "dialogue", "peer": "/run/a:1"}, "/run/a:1"),
        ({"event": "received", "client": "/run/socket", "port": 0}, "/run/socket"),
        ({"event": "started"}, ""),
    ],
)
def test_an_address_stands_with_its_port(told: dict[str, object], address: str) -> None:
    line = of_event(json.dumps({"level": "info", **told}).encode())
    assert line is not None
    assert line.address == address


def test_a_line_that_is_no_event_is_a_complaint() -> None:
    assert of_event(b"Traceback (most recent call last):\n") is None
    assert of_stderr_line(b"Traceback\x1b[0m\n") == ClassicLine(Severity.ERROR, "Traceback\\x1b[0m")
    assert of_stderr_line(b"\n") is None


def test_an_event_of_this_process_reads_like_one_of_a_service() -> None:
    event = StoreTrouble(doing="listing", reason="disk gone")
    assert log_lines.of_own(event) == ClassicLine(Severity.ERROR, "spool: listing: disk gone")


def test_a_line_has_what_was_asked_for_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    line = ClassicLine(Severity.WARNING, "text", "127.0.0.1;4711")
    assert written(line) == "warning: text"
    assert written(line, address=True) == "warning: 127.0.0.1;4711: text"
    assert written(line, now=NOON) == "20231114.221320.250: warning: text"
    assert written(ClassicLine(Severity.INFO, "text"), address=True) == "info: text"


def output(arguments: str, now: float = NOON) -> LogOutput:
    asked, problems = parse(["--no-syslog", *arguments.split()], lambda _path: "")
    assert problems == []
    return LogOutput(log_options(asked), clock=lambda: now)


def test_without_log_only_what_goes_wrong_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    log = output("")
    log.write(ClassicLine(Severity.INFO, "fine"))
    log.write(ClassicLine(Severity.ERROR, "not fine"))
    assert capfd.readouterr().err == "emailrelay: error: not fine\n"


def test_a_start_that_will_leave_standard_error_is_silent_when_all_is_well(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = output("--log --close-stderr")
    log.write(ClassicLine(Severity.INFO, "listening"))
    log.write(ClassicLine(Severity.ERROR, "cannot start"))
    log.started()
    log.write(ClassicLine(Severity.ERROR, "later"))
    assert capfd.readouterr().err == "emailrelay: error: cannot start\n"


def test_a_log_file_takes_the_place_of_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = output(f"--log --log-file {tmp_path}/log")
    log.started()
    log.write(ClassicLine(Severity.ERROR, "later"))
    assert capfd.readouterr().err == ""
    assert (tmp_path / "log").read_text() == "emailrelay: error: later\n"


def test_the_next_day_begins_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    now = NOON
    asked, _ = parse(["--log", "--no-syslog", "-N", f"{tmp_path}/log.%d"], lambda _path: "")
    log = LogOutput(log_options(asked), clock=lambda: now)
    log.write(ClassicLine(Severity.INFO, "today"))
    now += 86400
    log.write(ClassicLine(Severity.INFO, "tomorrow"))
    assert (tmp_path / "log.20231114").read_text() == "emailrelay: info: today\n"
    assert (tmp_path / "log.20231115").read_text() == "emailrelay: info: tomorrow\n"


def test_a_log_on_a_full_disk_stops_nothing() -> None:
    log = output("--log --log-file /dev/full")
    log.started()
    log.write(ClassicLine(Severity.INFO, "lost"))
    log.reopen()
