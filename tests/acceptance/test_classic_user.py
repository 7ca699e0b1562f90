"""Who the historical command runs as when root starts it."""

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.command import (
    CODE,
    SYSTEM_PYTHON,
    Command,
    others_can_run_it,
    runs_for_everybody,
)
from tests.acceptance.relay import free_port, until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
    pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="needs a Python for all users"),
]


@pytest.fixture
def command() -> Iterator[Command]:
    """Give the command run by a Python, and in a directory, that every user can reach."""
    if not others_can_run_it():
        pytest.skip("other users cannot reach this checkout")
    directory = Path(tempfile.mkdtemp(prefix="classic-"))
    directory.chmod(0o711)
    command = Command(
        directory,
        user=None,
        program=(str(SYSTEM_PYTHON), "-m", "emailrelay.classic"),
        environment={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, CODE))},
    )
    if command.run("--version").status != 0:
        pytest.skip("the system's Python is of another release than this one's packages")
    try:
        yield command
    finally:
        command.clear_away()
        shutil.rmtree(directory)


def identity(pid: int) -> dict[str, list[int]]:
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    wanted = ("Uid:", "Gid:", "Groups:", "NoNewPrivs:")
    return {words[0]: [int(word) for word in words[1:]] for words in lines if words[0] in wanted}


def test_root_binds_and_becomes_the_user_with_all_his_groups(command: Command) -> None:
    daemon = command.daemon("--as-server")
    user = pwd.getpwnam("daemon")
    expected = {
        "Uid:": [user.pw_uid] * 4,
        "Gid:": [user.pw_gid] * 4,
        "Groups:": sorted(os.getgrouplist("daemon", user.pw_gid)),
        "NoNewPrivs:": [1],
    }
    assert identity(daemon.pid) == expected
    assert identity(daemon.child("receiver")) == expected


def test_spool_and_mail_belong_to_the_user(command: Command) -> None:
    command.daemon("--as-server").submit()
    user = pwd.getpwnam("daemon")
    for path in (command.spool, *command.spool.glob("emailrelay.*")):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (user.pw_uid, user.pw_gid)
        assert status.st_mode & 0o007 == 0


def test_the_pid_file_in_roots_directory_goes_however_the_daemon_ends(command: Command) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        daemon = command.daemon("--as-server")
        assert daemon.pid_file.stat().st_uid == 0
        daemon.send(number)
        until(lambda: not command.daemons[-1].pid_file.exists(), "the pid file goes")


def test_another_user_can_be_named(command: Command) -> None:
    daemon = command.daemon("--as-server", "--user", "nobody")
    assert identity(daemon.pid)["Uid:"] == [pwd.getpwnam("nobody").pw_uid] * 4


def test_an_unknown_user_stops_the_start(command: Command) -> None:
    ended = command.run("--as-server", "--user", "nobody-at-all")
    assert ended.status == 1
    assert "nobody-at-all" in ended.err


@pytest.mark.skipif(runs_for_everybody(), reason="this Python can be run by every user")
def test_a_user_who_cannot_run_this_python_stops_the_start_if_he_was_named(tmp_path: Path) -> None:
    where = ("--interface", "127.0.0.1", "--port", str(free_port()))
    ended = Command(tmp_path, user="daemon").run("--as-server", *where)
    assert ended.status == 1
    assert "user daemon has no access to" in ended.err
