"""The files under deploy/ that start the legacy command and send it signals."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.command import ME, Command, Daemon, recording_sink
from tests.acceptance.relay import BIN, HANG, ROOT, free_port
from tests.service.console_browser import USERS

from emailrelay.classic import rules, services
from emailrelay.classic.command_line import parse

DEPLOY = ROOT / "deploy"
INIT = DEPLOY / "init.d" / "emailrelay.sh"
HOOKS = (DEPLOY / "ppp" / "ip-up.d-emailrelay", DEPLOY / "NetworkManager" / "90-emailrelay")


class Machine:
    """A root directory with the files that the scripts need, and a command for them to start."""

    def __init__(self, directory: Path) -> None:
        self.pid_file = directory / "run.pid"
        self.port = free_port()
        self.log = directory / "log"
        self.sink = recording_sink(directory)
        self.command = Command(directory)
        self.config = directory / "emailrelay.conf"
        self.config.write_text(
            f"as-server\nspool-dir {directory}/spool\ninterface 127.0.0.1\nport {self.port}\n"
            f"forward-to {self.sink.address}\nadmin {free_port()}\nlog-file {self.log}\n"
        )
        self.defaults = directory / "defaults"
        self.defaults.write_text(
            f"DAEMON={BIN / 'emailrelay'}\nCONFIG={self.config}\nPID_FILE={self.pid_file}\n"
            f"RUN_AS={ME}\n"
        )

    def run(self, script: Path, *arguments: str) -> int:
        told = {"RELAY_DEFAULTS": str(self.defaults), "CONNECTIVITY_STATE": "FULL"}
        environment = {**os.environ, **told}
        command = ["/bin/sh", str(script), *arguments]
        return subprocess.run(command, check=False, env=environment, timeout=HANG).returncode

    def init(self, action: str) -> int:
        return self.run(INIT, action)

    @property
    def daemon(self) -> Daemon:
        return Daemon(int(self.pid_file.read_text()), self.pid_file, self.log, self.port)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    try:
        yield machine
    finally:
        if machine.pid_file.exists():
            machine.command.daemons.append(machine.daemon)
            machine.command.clear_away()
        machine.sink.clear_away()


def test_the_init_script_starts_once_and_stops(machine: Machine) -> None:
    assert machine.init("status") == 3
    assert machine.init("start") == 0
    first = machine.daemon
    first.submit()
    assert machine.init("start") == 0
    assert machine.daemon.pid == first.pid
    assert machine.init("status") == 0
    assert machine.init("stop") == 0
    assert not first.alive
    assert machine.init("stop") == 0
    assert machine.init("status") == 3


def test_restart_is_another_process(machine: Machine) -> None:
    assert machine.init("restart") == 0
    first = machine.daemon
    assert machine.init("restart") == 0
    assert machine.daemon.pid != first.pid
    assert not first.alive


def test_the_number_of_another_program_is_not_taken_for_the_daemon(machine: Machine) -> None:
    machine.pid_file.write_text("1\n")
    assert machine.init("status") == 1
    assert machine.init("stop") == 0
    machine.pid_file.write_text("no number\n")
    assert machine.init("status") == 1
    machine.pid_file.unlink()


def test_a_failed_start_is_a_failure(machine: Machine) -> None:
    machine.config.write_text("as-server\nnonsense\n")
    assert machine.init("start") == 1
    machine.config.unlink()
    assert machine.init("start") == 6


def test_a_reload_with_something_wrong_fails_and_changes_nothing(machine: Machine) -> None:
    assert machine.init("start") == 0
    assert machine.init("reload") == 0
    good = machine.config.read_text()
    secrets = machine.config.with_name("secrets")
    secrets.write_text("server plain x y\n")
    secrets.chmod(0o644)
    for wrong in ("nonsense\n", "size many\n", f"server-auth {secrets}\n"):
        machine.config.write_text(good + wrong)
        assert machine.init("reload") == 1
    machine.daemon.submit()


@pytest.mark.parametrize(
    "unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda unit: unit.stem
)
def test_a_reload_by_systemd_fails_before_the_signal_when_something_is_wrong(
    unit: Path, tmp_path: Path
) -> None:
    # systemd runs these lines in their order, and stops at the first that fails.
    lines = [line for line in unit.read_text().splitlines() if line.startswith("ExecReload=")]
    check, signal = (line.removeprefix("ExecReload=") for line in lines)
    assert signal == "/bin/kill -HUP $MAINPID"
    settings = tmp_path / ("relay.conf" if unit.stem == "emailrelay" else "relay.toml")
    words = check.replace("/opt/emailrelay/bin", str(BIN)).replace(
        "--user emailrelay", f"--user {ME}"
    )
    words = words.replace("/etc/emailrelay.conf", str(settings))
    environment = dict(os.environ)
    if unit.stem != "emailrelay":
        environment["EMAILRELAY_CONFIG"] = str(settings)
        environment["EMAILRELAY_RUNTIME_DIR"] = str(tmp_path)
    if unit.stem == "emailrelay-console":
        users = tmp_path / "console.auth"
        users.write_text(USERS)
        users.chmod(0o600)
        environment["EMAILRELAY_CONSOLE_AUTH"] = str(users)
    for number, status in (("9", [0]), ("-9", [1, 78])):
        settings.write_text(
            f"size {number}\n"
            if unit.stem == "emailrelay"
            else f'forward_to = "h:25"\nworkers = {number}\n'
        )
        ended = subprocess.run(words.split(), check=False, env=environment, timeout=HANG)
        assert ended.returncode in status


def test_an_unknown_action_is_refused(machine: Machine) -> None:
    assert machine.init("dance") == 2


@pytest.mark.parametrize("action", ["forward", "ppp", "up", "connectivity-change"])
def test_when_the_network_is_up_what_waits_is_forwarded(machine: Machine, action: str) -> None:
    assert machine.init("start") == 0
    machine.daemon.submit()
    machine.sink.start()
    ppp, dispatcher = HOOKS
    match action:
        case "forward":
            assert machine.init("forward") == 0
        case "ppp":
            assert machine.run(ppp) == 0
        case _:
            assert machine.run(dispatcher, "eth0", action) == 0
    machine.sink.wait_for(1)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.parent.name)
def test_a_hook_leaves_another_program_with_that_number_alone(machine: Machine, hook: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        machine.pid_file.write_text(f"{other.pid}\n")
        machine.run(hook, "eth0", "up")
        machine.pid_file.unlink()
        other.communicate(timeout=HANG)
        assert other.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")
@pytest.mark.parametrize("script", [INIT, *HOOKS], ids=lambda script: script.name)
def test_another_users_pid_file_names_no_process_of_roots(machine: Machine, script: Path) -> None:
    like_us = ["emailrelay"]
    with subprocess.Popen(like_us, executable="/bin/cat", stdin=subprocess.PIPE) as other:
        machine.pid_file.write_text(f"{other.pid}\n")
        shutil.chown(machine.pid_file, "daemon")
        machine.run(script, *(["stop"] if script == INIT else ["eth0", "up"]))
        machine.pid_file.unlink()
        other.communicate(timeout=HANG)
        assert other.returncode == 0


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.parent.name)
def test_a_hook_is_content_without_a_daemon(machine: Machine, hook: Path) -> None:
    assert machine.run(hook, "eth0", "down") in {0, 1}
    assert not machine.pid_file.exists()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", [INIT, *HOOKS], ids=lambda script: script.name)
def test_scripts_are_clean_posix_shell(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["shellcheck", "--shell=sh", str(script)], check=True, timeout=HANG)


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not Path("/bin/kill").exists(),
    reason="systemd or procps is not installed",
)
@pytest.mark.parametrize(
    "unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda unit: unit.stem
)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/emailrelay/bin", str(BIN)))
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        check=False,
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("forwards", [False, True])
def test_the_example_configuration_is_right(
    forwards: bool,  # noqa: FBT001 - a row of the table
) -> None:
    text = (DEPLOY / "emailrelay.conf").read_text()
    if forwards:
        text = text.replace("#forward-to", "forward-to").replace("#poll", "poll")
    asked, wrong = parse(["emailrelay.conf"], lambda _path: text)
    expanded, contradictions = rules.expand(asked)
    found = [*wrong, *contradictions, *rules.problems(expanded)]
    assert [*found, *services.problems(services.plan(expanded), expanded, {})] == []


def test_all_agree_on_the_pid_file_and_the_log_file() -> None:
    names = ("systemd/emailrelay.service", "logrotate/emailrelay", "init.d/emailrelay.sh")
    texts = [(DEPLOY / name).read_text() for name in names]
    texts += [hook.read_text() for hook in HOOKS]
    assert all("/run/emailrelay.pid" in text for text in texts)
    rotated = (DEPLOY / "logrotate" / "emailrelay").read_text()
    assert "\n/var/log/emailrelay.log {" in rotated
    assert "log-file /var/log/emailrelay.log\n" in (DEPLOY / "emailrelay.conf").read_text()
