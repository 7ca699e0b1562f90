"""The historical command, as administrators know it."""

import os
import re
import signal
import smtplib
import socket
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.acceptance.command import GRAMMAR, Command
from tests.acceptance.relay import Sink, free_port, until

NOBODY = 65534


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


# The process contract


def test_the_parent_returns_when_the_daemon_listens_and_says_nothing(command: Command) -> None:
    daemon = command.daemon("--as-server")
    with smtplib.SMTP("127.0.0.1", daemon.port) as client:
        assert client.noop()[0] == 250
    assert "emailrelay: info: smtp server on 127.0.0.1:" in daemon.log()


def test_the_daemon_has_left_its_terminal_and_its_directory(command: Command) -> None:
    daemon = command.daemon("--as-server")
    assert os.getsid(daemon.pid) == daemon.pid
    assert Path(f"/proc/{daemon.pid}/cwd").readlink() == Path("/")
    streams = [Path(f"/proc/{daemon.pid}/fd/{number}").readlink() for number in range(3)]
    assert streams == [Path("/dev/null")] * 3


def test_the_pid_file_holds_the_number_and_a_newline_until_the_end(command: Command) -> None:
    daemon = command.daemon("--as-server")
    assert daemon.pid_file.read_bytes() == b"%d\n" % daemon.pid
    assert daemon.alive
    daemon.stop()
    assert not daemon.pid_file.exists()


def test_a_second_sigterm_does_not_leave_the_pid_file_behind(command: Command) -> None:
    daemon = command.daemon("--as-server")
    while daemon.alive:
        with suppress(ProcessLookupError):  # it has ended just now
            daemon.send(signal.SIGTERM)
    assert not daemon.pid_file.exists()


SIGNALLED_LATE = """
import asyncio, os, signal, sys, threading
from emailrelay.classic.cli import main

close = asyncio.Runner.close

def close_and_hear_a_second_signal(runner):
    close(runner)
    os.kill(os.getpid(), signal.SIGTERM)

asyncio.Runner.close = close_and_hear_a_second_signal
# Some thread blocks no signals, as those do in which asyncio waits for children.
threading.Thread(target=threading.Event().wait, daemon=True).start()
sys.exit(main())
"""


def test_a_sigterm_at_the_very_end_leaves_no_pid_file_behind(command: Command) -> None:
    command.program = (sys.executable, "-c", SIGNALLED_LATE)
    pid_file = command.directory / "pid"
    ended = command.run("--as-client", "127.0.0.1:9", "--pid-file", str(pid_file))
    assert not pid_file.exists()
    assert ended.status == 0


def test_the_spool_directory_is_made_and_closed_to_others(command: Command) -> None:
    command.daemon("--as-server")
    assert command.spool.stat().st_mode & 0o777 == 0o770
    assert command.waiting() == []


def test_in_the_foreground_the_command_ends_with_its_signal(command: Command, sink: Sink) -> None:
    ended = command.run("--as-client", sink.address, "--pid-file", str(command.directory / "pid"))
    assert ended.status == 0
    assert not (command.directory / "pid").exists()


SLOW_START = """
import sys, time
if "emailrelay.classic.with_parent" in open("/proc/self/cmdline").read().split(chr(0)):
    {what}
"""
IMPATIENT = """
import sys
from emailrelay.classic import supervisor
from emailrelay.classic.cli import main
supervisor.START_LIMIT, supervisor._LOOK = 3.0, 0.1
sys.exit(main())
"""


@pytest.fixture
def impatient(command: Command) -> Command:
    """Give a command with a tenth of the time limits, and a script that its services run first."""
    command.program = (sys.executable, "-c", IMPATIENT)
    paths = [str(command.directory), *filter(None, [os.environ.get("PYTHONPATH")])]
    command.environment["PYTHONPATH"] = os.pathsep.join(paths)
    return command


def test_a_start_that_makes_progress_is_waited_for(impatient: Command) -> None:
    busy = SLOW_START.format(what="while time.process_time() < 4: pass")
    (impatient.directory / "sitecustomize.py").write_text(busy)
    impatient.daemon("--as-server").submit()


def test_a_start_that_makes_none_is_given_up(impatient: Command) -> None:
    stuck = SLOW_START.format(what="time.sleep(1000)")
    (impatient.directory / "sitecustomize.py").write_text(stuck)
    ended = impatient.run("--as-server", "--interface", "127.0.0.1", "--port", "0")
    assert ended.status == 1
    assert "not ready, and no progress for 3 s: receiver" in ended.err


# Exit statuses


def test_an_address_in_use_is_exit_status_2_and_named(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = command.run("--as-server", "--interface", "127.0.0.1", "--port", port)
    assert ended.status == 2
    assert f"127.0.0.1 port {port}" in ended.err
    assert ended.out == ""


def test_bad_options_are_exit_status_1_with_every_problem(command: Command) -> None:
    ended = command.run("--as-server", "--poll", "0", "--port", "smtp", "--nonsense", "--pop")
    assert ended.status == 1
    named = {line.removeprefix("emailrelay: error: ").split(": ")[0] for line in ended.lines}
    assert {"--poll", "--port", "--nonsense", "--pop"} <= named
    assert not command.spool.exists()


def test_a_spool_that_cannot_be_used_is_exit_status_1(command: Command) -> None:
    command.spool.write_text("a file")
    ended = command.run("--as-server", "--interface", "127.0.0.1", "--port", str(free_port()))
    assert ended.status == 1
    assert "--spool-dir" in ended.err


def test_a_filter_of_an_unknown_kind_stops_the_start(command: Command) -> None:
    where = ("--interface", "127.0.0.1", "--port", str(free_port()))
    ended = command.run("--as-server", *where, "--filter", "exit:0,exit:300")
    assert ended.status == 1
    assert "exit:300" in ended.err


@pytest.mark.parametrize("option", ["--filter", "--client-filter", "--address-verifier"])
@pytest.mark.parametrize("spec", ["delivr:/x", "nett:127.0.0.1:9"])
def test_an_unknown_kind_of_filter_is_a_usage_error_that_lists_the_kinds(
    command: Command, option: str, spec: str
) -> None:
    ended = command.run("--as-proxy", "127.0.0.1:9", "--port", str(free_port()), option, spec)
    assert ended.status == 1
    (said,) = [line for line in ended.lines if spec.partition(":")[0] in line]
    assert all(kind in said for kind in ("the path of a program", "file:PATH", "net:HOST:PORT"))


@pytest.mark.parametrize("prefix", ["", "file:"])
def test_a_filters_path_is_that_of_the_start(command: Command, prefix: str) -> None:
    script(command.directory / "a:b", "exit 0")
    name = f"{command.directory.relative_to('/')}/a:b"
    command.daemon("--as-server", "--filter", f"{prefix}{name}").submit()
    assert len(command.waiting()) == 2


def test_nothing_to_do_is_exit_status_0(command: Command) -> None:
    assert command.run("--as-client", "127.0.0.1:9").status == 0


# Mail


def test_what_the_server_kept_the_client_forwards(command: Command, sink: Sink) -> None:
    daemon = command.daemon("--as-server")
    daemon.submit("a@x.net", "b@y.net")
    content, envelope = command.waiting()
    assert content.endswith(".content")
    assert envelope.endswith(".envelope")
    ended = command.run("--as-client", sink.address)
    assert ended.status == 0
    (arrival,) = sink.arrivals()
    assert (arrival.sender, arrival.recipients) == ("a@x.net", ["b@y.net"])
    assert command.waiting() == []
    assert all(GRAMMAR.fullmatch(line) for line in ended.lines)


def test_mail_that_cannot_be_forwarded_is_kept_and_is_exit_status_1(command: Command) -> None:
    command.daemon("--as-server").submit()
    before = command.waiting()
    assert command.run("--as-client", f"127.0.0.1:{free_port()}").status == 1
    assert command.waiting() == before


def test_a_server_that_polls_forwards_in_the_background(command: Command, sink: Sink) -> None:
    daemon = command.daemon("--as-server", "--forward-to", sink.address, "--poll", "1")
    daemon.submit()
    sink.wait_for(1)
    until(lambda: not command.waiting(), "the spool is empty")


def test_forward_at_the_start_sends_what_waits(command: Command, sink: Sink) -> None:
    first = command.daemon("--as-server")
    first.submit()
    first.stop()
    command.daemon("--as-server", "--forward", "--forward-to", sink.address)
    sink.wait_for(1)


def test_a_proxy_answers_what_the_next_server_answered(command: Command, sink: Sink) -> None:
    command.daemon("--as-proxy", sink.address).submit()
    assert len(sink.arrivals()) == 1
    assert command.waiting() == []


def test_a_proxy_passes_a_refusal_on_and_keeps_nothing(command: Command, tmp_path: Path) -> None:
    refusing = Sink("refusing", tmp_path, free_port(), ["--refuse", "550 5.1.1 nobody here"])
    refusing.start()
    try:
        daemon = command.daemon("--as-proxy", refusing.address)
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            daemon.submit()
        assert refused.value.smtp_code == 550
        assert "nobody here" in str(refused.value.smtp_error)
    finally:
        refusing.clear_away()
    until(lambda: not command.waiting(), "nothing is kept, moments after the answer")


def test_a_filters_rejection_is_the_answer_and_leaves_nothing(command: Command) -> None:
    rejecting = script(command.directory / "filter", "echo '<<554 not this one>>'; exit 1")
    daemon = command.daemon("--as-server", "--filter", rejecting)
    with pytest.raises(smtplib.SMTPDataError) as refused:
        daemon.submit()
    assert refused.value.smtp_code == 554
    assert "not this one" in str(refused.value.smtp_error)
    until(lambda: not command.waiting(), "nothing is left, moments after the answer")


def test_a_filter_edits_what_is_kept(command: Command) -> None:
    editing = script(command.directory / "filter", 'printf "X-Seen: yes\\r\\n" > "$1.new"\n'
                     'cat "$1" >> "$1.new" && mv "$1.new" "$1"')  # fmt: skip
    command.daemon("--as-server", "--filter", editing).submit()
    content, _ = command.waiting()
    assert (command.spool / content).read_bytes().startswith(b"X-Seen: yes\r\n")


def test_a_configuration_file_says_the_same(command: Command) -> None:
    config = command.directory / "relay.conf"
    config.write_text("# as ever\nas-server\nfilter=exit:1\nverbose no\n")
    daemon = command.daemon(str(config))
    with pytest.raises(smtplib.SMTPDataError):
        daemon.submit()


# Children that die


def test_a_killed_service_is_started_again_and_mail_flows(command: Command, sink: Sink) -> None:
    daemon = command.daemon("--as-server", "--forward-to", sink.address, "--poll", "1")
    killed = {service: daemon.child(service) for service in ("receiver", "forwarder")}
    for service, pid in killed.items():
        os.kill(pid, signal.SIGKILL)
        daemon.hear(f"error: {service} ended by SIGKILL")
    until(
        lambda: all(daemon.child(service) != pid for service, pid in killed.items()),
        "both are replaced",
    )
    daemon.submit()
    sink.wait_for(1)


def test_a_killed_parent_leaves_no_child(command: Command, sink: Sink) -> None:
    daemon = command.daemon(
        *("--as-server", "--forward-to", sink.address, "--poll", "1", "--filter", "exit:0")
    )
    children = [daemon.child(name) for name in ("receiver", "filterd", "forwarder")]
    daemon.send(signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), "all are gone")


def test_signals_that_come_early_end_no_service(command: Command, sink: Sink) -> None:
    daemon = command.daemon("--as-server", "--forward-to", sink.address, "--poll", "1")
    for _ in range(50):
        daemon.send(signal.SIGHUP)
        daemon.send(signal.SIGUSR1)
    daemon.submit()
    sink.wait_for(1)
    daemon.stop()
    assert "ended" not in daemon.log()


# New settings


def test_a_changed_configuration_file_is_obeyed_after_sighup(command: Command) -> None:
    config = command.directory / "relay.conf"
    config.write_text("as-server\nfilter=exit:0\n")
    daemon = command.daemon(str(config))
    children = daemon.children()
    daemon.submit()
    config.write_text("as-server\nfilter=exit:1\nport=26\n")
    daemon.send(signal.SIGHUP)
    daemon.hear("info: filterd: settings read again; changed: filter")
    daemon.hear("info: receiver: settings read again; changed: filter")
    with pytest.raises(smtplib.SMTPDataError):
        daemon.submit()
    assert daemon.children() == children
    daemon.stop()
    assert "error" not in daemon.log()


def test_a_service_that_is_replaced_has_the_new_settings(command: Command) -> None:
    config = command.directory / "relay.conf"
    config.write_text("as-server\nfilter=exit:0\n")
    daemon = command.daemon(str(config))
    config.write_text("as-server\nfilter=exit:1\n")
    daemon.send(signal.SIGHUP)
    daemon.hear("info: filterd: settings read again; changed: filter")
    killed = daemon.child("filterd")
    os.kill(killed, signal.SIGKILL)
    daemon.hear("error: filterd ended by SIGKILL")
    with pytest.raises(smtplib.SMTPDataError):
        daemon.submit()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("as-server\nsize=many\nfilter=exit:300\n", "exit:300"),
        ("as-server\n", "start or stop filterd, which needs a restart"),
        ("as-server\nfilter=exit:0\npoll=1\n", "poll"),
    ],
)
def test_a_bad_configuration_file_changes_nothing(
    command: Command, text: str, problem: str
) -> None:
    config = command.directory / "relay.conf"
    config.write_text("as-server\nfilter=exit:0\n")
    daemon = command.daemon(str(config))
    config.write_text(text)
    daemon.send(signal.SIGHUP)
    daemon.hear("error: options stay as they are: ")
    assert problem in daemon.log()
    daemon.submit()
    assert len(command.waiting()) == 2


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


# Administration


def test_the_services_tell_the_monitor_of_themselves(command: Command) -> None:
    directory = command.directory / "run"
    daemon = command.daemon("--as-server", "--runtime-dir", str(directory))
    daemon.submit()
    status = directory / "status" / "receiver.json"
    until(status.exists, "the receiver tells its state")
    if find_spec("prometheus_client") is not None:
        assert list((directory / "counters").glob("counter_*.db"))
