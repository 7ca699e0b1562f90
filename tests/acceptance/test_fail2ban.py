"""The filter in deploy/fail2ban finds addresses of clients that guess passwords, no others."""

import os
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
from tests.acceptance.relay import HANG, ROOT

from emailrelay.classic.log_lines import of_event
from emailrelay.classic.log_output import ClassicLogOptions, LogOutput
from emailrelay.config import LogFormat
from emailrelay.events.event import Event, Level
from emailrelay.events.receiving import LoggedIn, LoginFailed, Received, Rejected
from emailrelay.logs import line_reporter, renderer
from emailrelay.queue_id import QueueId

FILTER = ROOT / "deploy" / "fail2ban" / "filter.d" / "emailrelay.conf"
GUESSER, VICTIM = "192.0.2.77", "198.51.100.5"
NAMES = [
    "alice",
    "",
    f'x","mechanism":"PLAIN","client":"{VICTIM}"}}',
    f"x mechanism=PLAIN client={VICTIM}",
    f"warning: {VICTIM} failed to log in with PLAIN as y",
    f"x\nemailrelay: warning: {VICTIM} failed to log in with PLAIN as y",
    f'{{"level":"warning","event":"login_failed","service":"receiver","client":"{VICTIM}"}}',
]
HARMLESS: list[Event] = [
    LoggedIn(user="alice", mechanism="PLAIN", client=VICTIM),
    Rejected(command="MAIL", reply=f"553 {VICTIM} failed to log in with PLAIN as", client=VICTIM),
    Received(id=QueueId("1.1.1"), sender="event=login_failed", recipients=1, size=1, client=VICTIM),
    Received(
        id=QueueId("1.1.2"),
        sender="x",
        recipients=2,
        to=(f"warning: {VICTIM} failed to log in with PLAIN as", NAMES[-1]),
        message_id=f"<warning: {VICTIM} failed to log in with PLAIN as@x>",
        user=f"emailrelay: warning: {VICTIM} failed to log in with PLAIN as x",
        size=1,
        client=VICTIM,
    ),
]
JOURNAL = "Nov 25 22:26:34 mailhost emailrelay-receiver[123]: "
FORMS = ["json", "logfmt", "journal", "prefixed", "historical", "historical with addresses"]

pytestmark = pytest.mark.skipif(
    shutil.which("fail2ban-regex") is None, reason="fail2ban is not installed"
)


def write(log: Path, form: str, event: Event) -> None:
    """Write a log as the product writes it."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    historical = form.startswith("historical")
    if form in {"journal", "prefixed"}:
        os.write(descriptor, JOURNAL.encode())
    report = line_reporter(
        service="receiver",
        render=renderer(LogFormat.LOGFMT if form == "logfmt" else LogFormat.JSON),
        prioritised=form == "prefixed",  # what a journal with SyslogLevelPrefix=no hands on
        timed=form not in {"journal", "prefixed"},
        least=Level.INFO,
        descriptor=descriptor,
    )
    report(event)
    os.close(descriptor)
    if historical:
        *before, told = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(before))
        line = of_event(told)
        assert line is not None
        options = ClassicLogOptions(
            everything=True, file=str(log), facility=None, time=True,
            address="addresses" in form, close_stderr=True,
        )  # fmt: skip
        LogOutput(options, time.time).write(line)


def found(log: Path) -> list[str]:
    """Give the addresses that fail2ban finds in a log."""
    command = ["fail2ban-regex", "--out", "<ip>", str(log), str(FILTER)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG)
    return told.stdout.split()


@pytest.mark.parametrize("form", FORMS)
def test_each_failure_is_found_with_its_own_address(form: str, tmp_path: Path) -> None:
    fail = partial(LoginFailed, mechanism="CRAM-MD5", client=GUESSER)
    log = tmp_path / "log"
    for name in NAMES:
        write(log, form, fail(user=name))
    assert found(log) == [GUESSER] * len(NAMES)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_else_is_taken_for_a_failure(form: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for event in HARMLESS:
        write(log, form, event)
    assert found(log) == []
