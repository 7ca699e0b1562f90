"""The legacy command, as administrators know it: its start, its errors and its end."""

import os
import signal
import smtplib
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.acceptance.command import Command, script
from tests.acceptance.relay import Sink, free_port


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
def test_an_address_in_use_is_exit_status_2_and_named_and_nothing_is_made(
    command: Command,
) -> None:
    log = command.directory / "log"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        where = ("--interface", "127.0.0.1", "--port", port)
        ended = command.run("--as-server", *where, "--log-file", str(log))
    assert ended.status == 2
    assert f"127.0.0.1 port {port}" in ended.err
    assert ended.out == ""
    assert not log.exists()
    assert not command.spool.exists()


def test_a_log_that_cannot_be_opened_is_exit_status_1_and_no_spool_is_made(
    command: Command,
) -> None:
    where = ("--interface", "127.0.0.1", "--port", str(free_port()))
    ended = command.run("--as-server", *where, "--log-file", str(command.directory))
    assert (ended.status, "--log-file" in ended.err) == (1, True)
    assert not command.spool.exists()


def test_bad_options_are_exit_status_1_with_every_problem(command: Command) -> None:
    ended = command.run("--as-server", "--poll", "0", "--port", "smtp", "--nonsense", "--pop")
    assert ended.status == 1
    named = {line.removeprefix("emailrelay: error: ").split(": ")[0] for line in ended.lines}
    assert {"--poll", "--port", "--nonsense", "--pop"} <= named
    assert not command.spool.exists()


def test_what_fails_at_the_start_is_told_together(command: Command) -> None:
    command.spool.write_text("a file")
    log = command.directory / "log"
    log.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        where = ("--interface", "127.0.0.1", "--port", port)
        ended = command.run("--as-server", *where, "--log-file", str(log))
    assert ended.status == 2
    for words in (f"127.0.0.1 port {port}", str(log), "--spool-dir"):
        assert words in ended.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_an_unknown_user_is_told_with_the_other_problems(command: Command) -> None:
    ended = command.run("--as-server", "--poll", "0", "--user", "no-such-user")
    assert (ended.status, "--poll" in ended.err, "no-such-user" in ended.err) == (1, True, True)


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
