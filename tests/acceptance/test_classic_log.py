"""The log of the legacy command."""

import os
import re
import signal
import smtplib

from tests.acceptance.command import GRAMMAR, Command
from tests.acceptance.relay import Sink, until


# The log
def test_a_clean_run_says_neither_error_nor_warning(command: Command, sink: Sink) -> None:
    daemon = command.daemon(
        *("--as-server", "--forward-to", sink.address, "--poll", "1"),
        *("--log-time", "--log-address", "--filter", "exit:0"),
    )
    daemon.submit()
    sink.wait_for(1)
    daemon.hear("delivered")
    daemon.stop()
    lines = daemon.log().splitlines()
    assert [line for line in lines if not GRAMMAR.fullmatch(line)] == []
    assert "error" not in daemon.log()
    assert "warning" not in daemon.log()
    assert any(re.search(r"info: 127\.0\.0\.1;[0-9]+: received", line) for line in lines)


def test_a_line_stands_in_the_log_before_the_answer_that_it_explains(command: Command) -> None:
    daemon = command.daemon("--as-server", "--log-address")
    daemon.send(signal.SIGSTOP)  # So that no process writes it later.
    try:
        with smtplib.SMTP("127.0.0.1", daemon.port, "client.test", 20) as client:
            client.sendmail("a@x.net", ["b@y.net"], b"Subject: test\r\n\r\nhello\r\n")
            assert "received " in daemon.log()
            assert client.docmd("NONSENSE")[0] == 500
            assert "rejected (unknown): 500" in daemon.log()
    finally:
        daemon.send(signal.SIGCONT)
    daemon.stop()
    lines = daemon.log().splitlines()
    assert len([line for line in lines if "received" in line]) == 1
    assert [line for line in lines if not GRAMMAR.fullmatch(line)] == []


def test_lines_go_on_in_a_renamed_log_until_there_is_another(command: Command) -> None:
    daemon = command.daemon("--as-server")
    rotated = command.directory / "rotated"
    daemon.log_file.rename(rotated)
    daemon.submit()
    assert "received" in rotated.read_text()
    daemon.log_file.touch(0o600)
    daemon.submit()
    assert "received" in daemon.log()


def test_the_log_file_is_opened_again_at_sighup(command: Command) -> None:
    daemon = command.daemon("--as-server")
    daemon.log_file.rename(command.directory / "rotated")
    daemon.send(signal.SIGHUP)
    until(daemon.log_file.exists, "there is a new log")
    daemon.submit()
    daemon.hear("received")
    assert "received" not in (command.directory / "rotated").read_text()


def test_the_date_stands_in_the_name_of_the_log_file(command: Command) -> None:
    where = ("--interface", "127.0.0.1", "--port", "0", "--pid-file", f"{command.directory}/pid")
    ended = command.run("--as-server", *where, "--log-file", f"{command.directory}/log.%d")
    assert ended.status == 0
    os.kill(int((command.directory / "pid").read_text()), signal.SIGTERM)
    until(lambda: not (command.directory / "pid").exists(), "it ends")
    (written,) = command.directory.glob("log.*")
    assert written.name.removeprefix("log.").isdigit()
