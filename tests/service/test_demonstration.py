"""The parts of `make run`: a smarthost that prints its mail, a filter that changes it."""

import os
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import pytest

from emailrelay_receiver.demo import shown

ROOT = Path(__file__).parents[2]
FILTER = ROOT / "deploy" / "filters" / "add-relayed-header"


@pytest.fixture
def smarthost() -> Iterator[tuple[subprocess.Popen[str], int]]:
    with create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "emailrelay_receiver.demo", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process, port
        process.kill()


def test_the_smarthost_shows_each_message_and_stops_when_told(
    smarthost: tuple[subprocess.Popen[str], int],
) -> None:
    process, port = smarthost
    assert process.stdout is not None
    assert process.stdout.readline() == f"demonstration smarthost on 127.0.0.1:{port}\n"

    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("a@x.net", ["b@y.net", "c@y.net"], b"Subject: hi\r\n\r\nhello\r\n")

    process.terminate()
    assert process.stdout.read().splitlines() == [
        "message 1 from <a@x.net> to <b@y.net>, <c@y.net>, 22 bytes",
        "  | Subject: hi",
        "  | ",
        "  | hello",
    ]
    assert process.wait(timeout=30) == 0


def test_a_long_message_is_shortened_and_its_control_characters_are_harmless() -> None:
    lines = shown(7, "a@x.net", [], b"\x1b[2J\xff\r\n" * 20).splitlines()

    assert lines[0].startswith("message 7 from <a@x.net> to ")
    assert lines[1] == "  | \\x1b[2J\N{REPLACEMENT CHARACTER}"
    assert lines[-1] == "  | (8 more lines)"
    assert len(lines) == 14


def test_the_sample_filter_puts_one_line_in_front(tmp_path: Path) -> None:
    content = tmp_path / "emailrelay.1.2.3.content"
    content.write_bytes(b"Subject: hi\r\n\r\n\x00\xff no line end")

    subprocess.run(
        [FILTER, content, tmp_path / "envelope"], check=True, env={"PATH": "/usr/bin:/bin"}
    )

    assert content.read_bytes() == (
        b"X-Relayed: by E-MailRelay\r\nSubject: hi\r\n\r\n\x00\xff no line end"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == [content.name]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_installation_says_each_step_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    python = tmp_path / ".venv/bin/python"  # stands for both: that of the system, and its copy
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$*"\n')
    python.chmod(0o755)
    words = ["make", "-f", f"{ROOT}/Makefile", f"PYTHON={python}", ".venv/.ready"]
    # Below a make that runs the tests, this one would name its directory.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}

    told = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout

    lines = [line for line in told.splitlines() if not line.startswith("-c ")]
    assert lines[0] == "Installing E-MailRelay in .venv. The first time takes some minutes."
    assert [line.partition(":")[0] for line in lines[1::2]] == [f"{n} of 4" for n in range(1, 5)]
    assert [line.partition(" ")[0] for line in lines[2::2]] == ["-m"] * 4
