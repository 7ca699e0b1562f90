"""What README tells a newcomer to do works as it says."""

import os
import re
import shutil
import signal
import socket
import subprocess
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from tests.acceptance.relay import BIN, HANG, ROOT, STOP_LIMIT, Process, Relay, until

PORTS = (2525, 2526)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is under version control, in a directory of its own."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, timeout=HANG
    )
    if listing.returncode != 0:
        pytest.skip("not a checkout")
    copy = tmp_path / "checkout"
    for name in filter(None, listing.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


class Procfile(Process):
    """honcho, which gives each of its processes a group of its own."""

    def clear_away(self) -> None:
        if self.running:
            self.send(signal.SIGTERM)
            self.wait()
        super().clear_away()


def commands(readme: str) -> list[str]:
    """Give the lines of README that send a message."""
    blocks = re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return [
        line
        for block in blocks
        for line in block.splitlines()
        if "127.0.0.1:2525" in line or "smtplib" in line
    ]


def taken() -> list[int]:
    found: list[int] = []
    for port in PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            found.append(port)
    return found


def procfile(relay: Relay, checkout: Path, environment: dict[str, str]) -> Procfile:
    """What `make run` starts, with the environment that runs the tests instead of a new one."""
    if not (BIN / "honcho").exists():
        pytest.skip("honcho is not installed")
    if ports := taken():
        pytest.skip(f"in use by another program: {ports}")
    honcho = Procfile(
        "honcho", [BIN / "honcho", "start"], relay.directory, cwd=checkout, env=environment
    )
    relay.processes.append(honcho)
    honcho.spawn()
    return honcho


def is_told(honcho: Process, text: str) -> bool:
    assert honcho.running, "one of the processes has ended, and honcho the others"
    return text in honcho.log.read_text()


def is_shown(honcho: Process, number: int) -> bool:
    """Look whether the smarthost shows this message, with the filter's line first."""
    lines = [line for line in honcho.log.read_text().splitlines() if " smarthost.1 " in line]
    for head, first in pairwise(lines):
        if f"| message {number} from <me@example.org> to <you@example.net>, " in head:
            return first.endswith("  | X-Relayed: by E-MailRelay")
    return False


def test_readmes_messages_are_shown_with_the_line_of_the_example_filter(
    relay: Relay, checkout: Path
) -> None:
    environment = os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "SMARTHOST": "",
        "EMAILRELAY_LOG_FORMAT": "logfmt",
    }
    honcho = procfile(relay, checkout, environment)
    ready = [f"event=started service={name} " for name in ("receiver", "filterd", "forwarder")]
    for text in (*ready, "demonstration smarthost on"):
        until(partial(is_told, honcho, text), text)

    lines = commands((ROOT / "README.md").read_text())
    assert {line.split()[0] for line in lines} == {"swaks", "python3"}
    sent = 0
    for line in lines:
        if shutil.which(line.split()[0]):
            subprocess.run(["sh", "-c", line], env=environment, check=True, timeout=HANG)
            sent += 1
            until(partial(is_shown, honcho, sent), line)

    until(lambda: honcho.log.read_text().count("event=delivered") == sent, "all is told")
    assert list((checkout / "var" / "spool").glob("[!.]*")) == []
    honcho.send(signal.SIGINT)
    honcho.wait(STOP_LIMIT)
    assert taken() == []
    assert "SIGKILL" not in honcho.log.read_text()
