"""The steps for newcomers in README work as written."""

import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from tests.acceptance.relay import (
    BIN,
    HANG,
    ROOT,
    STOP_LIMIT,
    Process,
    Relay,
    free_port,
    until,
)
from tests.service.console_browser import Browser


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files under version control, in a directory of its own."""
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


def needs_honcho() -> None:
    """Skip where honcho cannot run: its queue has a semaphore, which is in /dev/shm."""
    if not (BIN / "honcho").exists():
        pytest.skip("honcho is not installed")
    try:
        multiprocessing.Semaphore()
    except OSError as error:
        pytest.skip(f"honcho cannot run without semaphores: {error}")


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


def is_free(port: int) -> bool:
    """Look whether this port can be listened on."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def procfile(relay: Relay, checkout: Path, environment: dict[str, str]) -> Procfile:
    """The processes of `make run`, with the environment of the tests instead of a new one."""
    needs_honcho()
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


def reads_them_in_the_console(honcho: Process, port: int, sent: int, smarthost: str) -> None:
    """Sign in as the terminal says, and read what the smarthost got, and the route to it."""
    until(partial(is_told, honcho, "event=started service=console"), "the console starts")
    told = re.search(
        r"console: http://127.0.0.1:(\d+)/ .* name (\S+), password (\S+)", honcho.log.read_text()
    )
    assert told is not None
    assert int(told[1]) == port
    browser = Browser(port)
    assert browser.sign_in(told[2], told[3]).status == 303
    page = browser.get("/received")
    assert page.text.count("you@example.net") == sent
    first = browser.get(
        page.text.partition('<a href="/received/')[2].partition('"')[0].join(("/received/", ""))
    )
    assert "X-Relayed: by E-MailRelay" in first.text
    assert smarthost in browser.get("/routes").text


def test_readmes_messages_are_shown_with_the_line_of_the_example_filter(
    relay: Relay, checkout: Path
) -> None:
    names = ("RECEIVER_PORT", "SMARTHOST_PORT", "MONITOR_PORT", "CONSOLE_PORT")
    ports = {name: str(free_port()) for name in names}
    environment = os.environ | ports
    environment |= {
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
            here = line.replace("2525", ports["RECEIVER_PORT"])
            subprocess.run(["sh", "-c", here], env=environment, check=True, timeout=HANG)
            sent += 1
            until(partial(is_shown, honcho, sent), line)

    until(lambda: honcho.log.read_text().count("event=delivered") == sent, "all is told")
    smarthost = f"127.0.0.1:{ports['SMARTHOST_PORT']}"
    reads_them_in_the_console(honcho, int(ports["CONSOLE_PORT"]), sent, smarthost)
    assert list((checkout / "var" / "spool").glob("[!.]*")) == []
    honcho.send(signal.SIGINT)
    honcho.wait(STOP_LIMIT)
    assert all(is_free(int(port)) for port in ports.values())
    assert "SIGKILL" not in honcho.log.read_text()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("taken", ["RECEIVER_PORT", "SMARTHOST_PORT"])
def test_make_run_names_a_port_in_use_and_tells_how_to_choose_another(
    taken: str, checkout: Path
) -> None:
    needs_honcho()
    (checkout / ".venv").symlink_to(sys.prefix)
    ports = {"RECEIVER_PORT": free_port(), "SMARTHOST_PORT": free_port()}
    with socket.create_server(("127.0.0.1", ports[taken])):
        told = subprocess.run(
            ["make", "--assume-old=.venv/.ready", "run", *(f"{k}={v}" for k, v in ports.items())],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG,
        )
    assert told.returncode != 0
    assert f"cannot listen on 127.0.0.1 port {ports[taken]}: Address already in use" in told.stdout
    assert "make run RECEIVER_PORT=3525 SMARTHOST_PORT=3526" in told.stderr
    assert "Traceback" not in told.stdout + told.stderr
