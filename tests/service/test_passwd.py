"""``emailrelay-passwd`` as a real process, at a pipe and at a terminal."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from emailrelay.secrets import SecretsFile

COMMAND = (sys.executable, "-m", "emailrelay.secrets.passwd")


def passwd(*arguments: str, typed: str = "open sesame\n") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], input=typed, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("form", [(), ("--md5",), ("-d",), ("--plain",)])
def test_the_line_it_prints_lets_its_owner_in(tmp_path: Path, form: tuple[str, ...]) -> None:
    done = passwd(*form, "al ice+")
    assert (done.returncode, done.stderr) == (0, "")
    assert ("sesame" in done.stdout) is (form == ("--plain",))
    path = tmp_path / "secrets"
    path.write_text(done.stdout)
    path.chmod(0o600)
    server = SecretsFile(path).server
    assert server.verify_password("al ice+", "open sesame")
    assert not server.verify_password("al ice+", "open")


def test_without_a_name_it_prints_the_secret_alone() -> None:
    assert passwd().stdout.startswith("$scrypt$ln=")
    assert passwd("--plain", typed="a+b c\r\n").stdout == "a+2Bb+20c\n"
    assert passwd().stdout != passwd().stdout


def test_a_client_line_is_made_of_what_a_client_can_use() -> None:
    assert passwd("--client", "--plain", "me").stdout == "client plain me open+20sesame\n"
    assert passwd("--client", "me").returncode == os.EX_USAGE


@pytest.mark.parametrize(
    "arguments",
    [("alice", "sesame"), ("alice", "--md5", "sesame"), ("--sesam",), ("--md5", "--plain")],
)
def test_wrong_usage_is_told_and_shows_no_password(arguments: tuple[str, ...]) -> None:
    done = passwd(*arguments)
    assert (done.returncode, done.stdout) == (os.EX_USAGE, "")
    assert "alice" not in done.stderr
    assert "sesame" not in done.stderr


def test_an_empty_password_is_none() -> None:
    assert passwd("alice", typed="\n").returncode == os.EX_DATAERR
    assert passwd("alice", typed="").returncode == os.EX_DATAERR


@pytest.mark.parametrize(("again", "status"), [("sesame", 0), ("sesam", os.EX_DATAERR)])
def test_at_a_terminal_it_asks_twice_and_shows_nothing(again: str, status: int) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "alice"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        shown = _until(controller, b"Password: ")
        os.write(controller, b"sesame\n")
        shown += _until(controller, b"Again: ")
        os.write(controller, again.encode() + b"\n")
        assert process.wait(30) == status
    os.close(controller)
    assert b"sesam" not in shown


@pytest.mark.parametrize("asked", [b"Password: ", b"Again: "])
@pytest.mark.parametrize(("end", "status"), [("Ctrl-C", 130), ("Ctrl-D", os.EX_DATAERR)])
def test_at_a_terminal_the_user_may_end_it(asked: bytes, end: str, status: int) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "alice"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        if asked == b"Again: ":
            _until(controller, b"Password: ")
            os.write(controller, b"sesame\n")
        _until(controller, asked)
        if end == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            os.write(controller, b"\x04")
        said = _until(controller, b"emailrelay-passwd: ")
        assert process.wait(60) == status
    os.close(controller)
    assert b"Traceback" not in said


def _until(descriptor: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        seen += os.read(descriptor, 1000)
    return seen


def test_a_role_makes_a_user_of_the_console_and_a_token_is_shown_once(tmp_path: Path) -> None:
    path = tmp_path / "console.auth"
    user, program = passwd("--role", "viewer", "al ice"), passwd("--token", "--role=operator", "ci")
    assert (user.returncode, user.stderr, program.returncode) == (0, "", 0)
    path.write_text(user.stdout + program.stdout)
    path.chmod(0o600)
    token = program.stderr.splitlines()[-1].removeprefix("ci.")
    assert token not in program.stdout
    file = SecretsFile(path)
    assert file.roles == {"al ice": "viewer", "ci": "api-operator"}
    assert file.server.verify_password("al ice", "open sesame")
    assert file.server.verify_password("ci", token)


@pytest.mark.parametrize(
    "arguments", [("--role", "root", "a"), ("--role",), ("--token", "a"), ("--role", "viewer")]
)
def test_a_role_needs_a_name_and_a_token_a_role(arguments: tuple[str, ...]) -> None:
    assert passwd(*arguments).returncode == os.EX_USAGE
