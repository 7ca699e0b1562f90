"""The user of the legacy command when root starts it."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.command import (
    CODE,
    SYSTEM_PYTHON,
    Command,
    ask,
    others_can_run_it,
    runs_for_everybody,
)
from tests.acceptance.relay import HANG, free_port, until

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


def test_spool_that_a_command_of_root_makes_in_the_directory_of_a_user_is_the_users(
    command: Command,
) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(command.directory, nobody.pw_uid, nobody.pw_gid)
    command.run("--as-client", "127.0.0.1:9", "--user", "root")
    assert command.spool.stat().st_uid == nobody.pw_uid


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
def test_a_named_user_who_cannot_run_this_python_stops_the_start(tmp_path: Path) -> None:
    where = ("--interface", "127.0.0.1", "--port", str(free_port()))
    ended = Command(tmp_path, user="daemon").run("--as-server", *where)
    assert ended.status == 1
    assert "user daemon has no access to" in ended.err


@pytest.mark.skipif(shutil.which("useradd") is None, reason="useradd (passwd) is missing")
def test_the_user_and_the_members_of_the_users_group_administer(command: Command) -> None:
    port, name = free_port(), f"relay-{os.getpid()}"
    daemon = command.daemon("--as-server", "--admin", str(port))
    subprocess.run(["useradd", "-M", "-N", "-G", "daemon", name], check=True, timeout=HANG)
    try:
        for user in ("root", "daemon", name):
            number = pwd.getpwnam(user).pw_uid
            assert ask(port, "smtp disable", "smtp enable", user=number) == ["OK", "OK"]
    finally:
        subprocess.run(["userdel", name], check=True, timeout=HANG)
    daemon.submit()


# Files that the user can change must do no harm to root, who starts the command.


@pytest.fixture
def theirs(command: Command) -> Path:
    """Give a directory of the user daemon, in which the command is to write."""
    directory = command.directory / "theirs"
    directory.mkdir(mode=0o755)
    shutil.chown(directory, "daemon", "daemon")
    return directory


@pytest.fixture
def closed(command: Command) -> Path:
    """Give a directory that only root can change, with a file of root's in it."""
    directory = command.directory / "closed"
    directory.mkdir(mode=0o755)
    (directory / "name").write_text("of root's")
    (directory / "name").chmod(0o600)
    return directory


def untouched(closed: Path) -> bool:
    status = (closed / "name").stat()
    rights = (status.st_uid, status.st_gid, status.st_mode & 0o777)
    return (
        [entry.name for entry in closed.iterdir()] == ["name"]
        and rights == (0, 0, 0o600)
        and (closed / "name").read_text() == "of root's"
    )


def options(what: str, path: Path) -> tuple[str, ...]:
    where = ("--port", str(free_port()))
    if what == "--interface":
        return (f"--interface=127.0.0.1,{path}", *where)
    return ("--interface=127.0.0.1", *where, what, str(path))


@pytest.mark.parametrize("what", ["--log-file", "--pid-file", "--interface"])
def test_a_link_in_the_users_directory_leads_root_to_no_file(
    command: Command, theirs: Path, closed: Path, what: str
) -> None:
    (theirs / "link").symlink_to(closed / "name")
    ended = command.run("--as-server", *options(what, theirs / "link"))
    assert ended.status in {1, 2}
    assert str(theirs) in ended.err
    assert untouched(closed)


@pytest.mark.parametrize("what", ["--log-file", "--pid-file", "--interface"])
@pytest.mark.parametrize("name", ["name", "new"])
def test_a_linked_directory_leads_root_to_no_file(
    command: Command, theirs: Path, closed: Path, what: str, name: str
) -> None:
    (theirs / "below").symlink_to(closed)
    ended = command.run("--as-server", *options(what, theirs / "below" / name))
    assert ended.status in {1, 2}
    assert untouched(closed)


def test_a_linked_directory_leads_root_to_make_no_spool(
    command: Command, theirs: Path, closed: Path
) -> None:
    (theirs / "below").symlink_to(closed)
    theirs_not_roots = Command(theirs / "below", None, command.program, command.environment)
    assert theirs_not_roots.run("--as-server", *options("--domain", Path("x"))).status == 1
    assert untouched(closed)


def test_a_log_that_is_opened_again_is_opened_as_the_user(
    command: Command, theirs: Path, closed: Path
) -> None:
    pid, log = command.directory / "pid", theirs / "log"
    ended = command.run("--as-server", *options("--log-file", log), "--pid-file", str(pid))
    assert (ended.status, ended.err) == (0, "")
    assert log.stat().st_uid == pwd.getpwnam("daemon").pw_uid
    log.unlink()
    log.symlink_to(closed / "name")
    os.kill(int(pid.read_text()), signal.SIGHUP)
    os.kill(int(pid.read_text()), signal.SIGTERM)
    until(lambda: not pid.exists(), "it ends")
    assert untouched(closed)


def test_files_in_the_users_directory_are_made_with_the_users_rights(
    command: Command, theirs: Path
) -> None:
    user = pwd.getpwnam("daemon")
    daemon = command.daemon("--as-server", f"--interface={theirs}/socket")
    path = theirs / "socket"
    assert (path.stat().st_uid, path.stat().st_gid) == (user.pw_uid, user.pw_gid)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert client.recv(4) == b"220 "
    daemon.stop()
    assert not path.exists()


def test_the_pid_file_in_the_users_directory_goes_however_the_daemon_ends(
    command: Command, theirs: Path
) -> None:
    path = theirs / "pid"
    for number in (signal.SIGTERM, signal.SIGKILL):
        ended = command.run("--as-server", *options("--pid-file", path))
        assert (ended.status, ended.err) == (0, "")
        assert path.stat().st_uid == pwd.getpwnam("daemon").pw_uid
        os.kill(int(path.read_text()), number)
        until(lambda: not path.exists(), "the pid file goes")


def test_a_link_that_root_made_is_followed(command: Command, closed: Path) -> None:
    (command.directory / "link").symlink_to(closed)
    daemon = command.daemon("--as-server", f"--interface={command.directory}/link/socket")
    assert (closed / "socket").is_socket()
    daemon.stop()


# The first command of the user guide


def test_directories_above_the_spool_let_the_user_pass(command: Command) -> None:
    deep = Command(command.directory / "usr" / "var", None, command.program, command.environment)
    try:
        deep.directory.parent.mkdir()
        ended = deep.run("--as-server", *options("--pid-file", command.directory / "pid"))
        assert (ended.status, ended.err) == (0, "")
    finally:
        if (command.directory / "pid").exists():
            os.kill(int((command.directory / "pid").read_text()), signal.SIGTERM)
            until(lambda: not (command.directory / "pid").exists(), "it ends")
    above = deep.directory.stat()
    assert (above.st_uid, above.st_mode & 0o777) == (0, 0o755)
    assert (deep.spool.stat().st_uid, deep.spool.stat().st_mode & 0o777) == (
        pwd.getpwnam("daemon").pw_uid,
        0o770,
    )


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare (util-linux) is missing")
def test_the_first_command_of_the_user_guide_works_on_a_fresh_machine(command: Command) -> None:
    # In a place of its own: nothing under /usr/local and /var/spool, and port 25 is free.
    own = ("unshare", "--mount", "--net", "--", "/bin/sh", "-e", "-c")
    empty = "mount -t tmpfs none /usr/local; mount -t tmpfs none /var/spool"
    if subprocess.run([*own, empty], check=False, timeout=HANG).returncode:
        pytest.skip("this machine lets nobody have namespaces of their own")
    script = (
        f"umask 022; {empty}; chmod 755 /usr/local /var/spool\n"
        f'"$@" --as-server --pid-file {command.directory}/pid\n'
        f"kill $(cat {command.directory}/pid)\n"
        "stat -c '%U %a' /usr/local/var /usr/local/var/spool /usr/local/var/spool/emailrelay\n"
    )
    ended = subprocess.run(
        [*own, script, "sh", *command.program],
        check=False,
        capture_output=True,
        text=True,
        timeout=HANG,
        env=command.environment,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == ["root 755", "root 755", "daemon 770"]
