"""Every command: on consoles that lack characters, with closed streams, with unusual arguments."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

COMMANDS = {
    "emailrelay": "emailrelay.classic.cli",
    "emailrelay-receiver": "emailrelay_receiver.cli",
    "emailrelay-filterd": "emailrelay_filterd.cli",
    "emailrelay-forwarder": "emailrelay_forwarder.cli",
    "emailrelay-doctor": "emailrelay_forwarder.doctor.cli",
    "emailrelay-filter-test": "emailrelay_filterd.trial.cli",
    "emailrelay-queue": "emailrelay.queue.cli",
    "emailrelay-submit": "emailrelay.submit.cli",
    "emailrelay-notify": "emailrelay.notify.cli",
    "emailrelay-passwd": "emailrelay.secrets.passwd",
    "emailrelay-auth": "emailrelay.oauth.cli",
}
OF_A_MOMENT = [
    name for name in COMMANDS if name.rpartition("-")[2] not in ("receiver", "filterd", "forwarder")
]
"""Commands that end by themselves."""
ODD = os.fsdecode(b"b\xf6b")


def run(
    name: str,
    *arguments: str,
    redirection: str = "",
    environment: Mapping[str, str] | None = None,
    given: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    program = (
        f"import sys; from {COMMANDS[name]} import main;"
        f" sys.argv[0] = {name!r}; sys.exit(main(sys.argv[1:]))"
    )
    words = ["bash", "-c", f'exec "$@" {redirection}', "bash", sys.executable, "-c", program]
    return subprocess.run(
        [*words, *arguments],
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], **(environment or {})},
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_closed_streams_stop_no_command(name: str) -> None:
    done = run(name, "--help", redirection=">&- 2>&- <&-")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_that_cannot_be_written_are_an_error(name: str, option: str) -> None:
    done = run(name, option, redirection=">/dev/full")
    assert done.returncode == os.EX_TEMPFAIL
    assert done.stderr.startswith(f"{name}: ".encode())
    assert (b"No space left on device" in done.stderr, done.stderr.count(b"\n")) == (True, 1)


def test_what_is_found_is_shown_on_a_console_that_knows_ascii_only(tmp_path: Path) -> None:
    program = tmp_path / "filtér"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o700)
    done = run("emailrelay-filter-test", str(program), environment={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"filt\\xe9r" in done.stdout


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *((name, [f"--{ODD}", ODD]) for name in COMMANDS),
        *((name, ["--", ODD]) for name in OF_A_MOMENT),
    ],
)
def test_arguments_of_any_octets_are_answered_with_a_sentence(
    tmp_path: Path, name: str, arguments: list[str]
) -> None:
    place = {"EMAILRELAY_SPOOL_DIR": str(tmp_path / "none"), "PYTHONIOENCODING": "ascii"}
    done = run(name, *arguments, environment=place)
    assert b"Traceback" not in done.stderr
    assert done.stderr.isascii()


def test_log_of_a_service_goes_into_no_file_when_its_output_is_closed(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    words = ["--once", "--spool-dir", str(spool), "--forward-to", "127.0.0.1:9"]
    done = run("emailrelay-forwarder", *words, redirection=">&- 2>&-")
    assert done.returncode == 0
    for path in spool.rglob("*"):
        if path.is_file():
            assert b"service" not in path.read_bytes(), path


@pytest.mark.parametrize("password", [b"p\xf6ss\n", b""])
def test_password_that_is_no_text_is_refused(password: bytes) -> None:
    done = run("emailrelay-passwd", "--plain", given=password)
    assert done.returncode == 65
    assert done.stderr.startswith(b"emailrelay-passwd: ")
    assert done.stdout == b""


def test_user_name_of_any_octets_is_written_as_it_is() -> None:
    done = run("emailrelay-passwd", "--plain", ODD, given=b"secret\n")
    assert (done.returncode, done.stdout) == (0, b"server plain b+F6b secret\n")


def test_entry_that_cannot_be_written_is_no_success() -> None:
    done = run("emailrelay-passwd", "--plain", given=b"secret\n", redirection=">/dev/full")
    assert done.returncode == 74
    assert (
        done.stderr == b"emailrelay-passwd: the entry cannot be written: No space left on device\n"
    )
