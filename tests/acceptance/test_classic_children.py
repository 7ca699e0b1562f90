"""The services that the legacy command starts: killed ones come again, all obey signals."""

import os
import signal
import smtplib
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.acceptance.command import Command
from tests.acceptance.relay import Sink, until


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


# Administration
def test_the_services_tell_the_monitor_of_themselves(command: Command) -> None:
    directory = command.directory / "run"
    daemon = command.daemon("--as-server", "--runtime-dir", str(directory))
    daemon.submit()
    status = directory / "status" / "receiver.json"
    until(status.exists, "the receiver tells its state")
    if find_spec("prometheus_client") is not None:
        assert list((directory / "counters").glob("counter_*.db"))
