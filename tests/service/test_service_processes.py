"""Services as real processes: they drain at a stop signal, and are replaced when killed."""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "fakes" / "little_service.py"
STOPPED_AT_ONCE = """
import os, signal, sys
from emailrelay import service
from emailrelay.events.service import Started

def report(event):
    if isinstance(event, Started):
        os.kill(os.getpid(), signal.SIGTERM)

async def work(signals, _hints):
    signals.ready()
    await signals.stop.wait()
    return 0

sys.exit(service.run("little", work, store="memory:", workers=int(sys.argv[1]), report=report))
"""
HANG = 30.0
"""Seconds after which a test gives up waiting."""


class Little:
    """A running test service and its output so far."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | (env or {}),
        )
        assert self.process.stdout is not None
        self._output = self.process.stdout
        self._rest = b""
        self.said: list[list[str]] = []

    def hear(self, *start: str, times: int = 1) -> list[list[str]]:
        """Wait for this many lines that begin with these words; return them."""
        deadline = time.monotonic() + HANG
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while len(found := self.heard(*start)) < times:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                assert ready, f"{start} was not said: {self.said}"
                got = os.read(self._output.fileno(), 65536)
                assert got, f"{start} was not said before the end: {self.said}"
                self._take(got)
        return found

    def heard(self, *start: str) -> list[list[str]]:
        return [words for words in self.said if words[: len(start)] == list(start)]

    def _take(self, got: bytes) -> None:
        *lines, self._rest = (self._rest + got).split(b"\n")
        self.said += [line.decode().split() for line in lines]

    def workers(self, times: int) -> list[int]:
        return [int(words[1]) for words in self.hear("working", times=times)]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit status and the text of standard error."""
        out, err = self.process.communicate(timeout=HANG)
        self._take(out)
        return self.process.returncode, err.decode()


Start = Callable[..., Little]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Little] = []

    def begin(*arguments: str, env: dict[str, str] | None = None) -> Little:
        started.append(Little(*arguments, env=env))
        return started[-1]

    yield begin
    for little in started:
        for pid in [int(words[1]) for words in little.heard("working")]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        little.process.kill()
        little.process.communicate(timeout=HANG)


def gone(pid: int) -> bool:
    """Wait for the end of a process that is no child of ours."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        ended = bool(selector.select(HANG))
    os.close(descriptor)
    return ended


def test_one_worker_is_one_process_that_drains(start: Start) -> None:
    little = start("1", "patient", "dispatch")
    assert little.workers(1) == [little.process.pid]

    little.send(signal.SIGTERM)

    assert little.end() == (0, "")
    assert [words[0] for words in little.said] == [
        "started",
        "working",
        "stopping",
        "draining",
        "drained",
        "stopped",
    ]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_spoil_the_drain(
    start: Start, workers: str, number: signal.Signals
) -> None:
    little = start(workers, "patient")
    little.workers(int(workers))

    little.send(number)
    little.hear("draining")
    little.send(number)

    assert little.end() == (0, "")
    assert len(little.heard("drained")) == int(workers)
    assert little.heard("stopped") == [["stopped", "little", "0"]]
    assert len(little.heard("stopping")) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_that_comes_with_the_start_is_a_clean_one(workers: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STOPPED_AT_ONCE, workers],
        timeout=HANG,
        check=False,
        capture_output=True,
    )

    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_killed_worker_is_replaced_and_told_of(start: Start) -> None:
    little = start("2", "patient")
    victim, survivor = little.workers(2)

    os.kill(victim, signal.SIGKILL)

    *_, newcomer = little.workers(3)
    assert newcomer not in {victim, survivor, little.process.pid}
    assert little.heard("worker_died") == [
        ["worker_died", "little", str(victim), "worker:", "ended", "by", "SIGKILL"]
    ]
    little.send(signal.SIGTERM)
    assert little.end() == (0, "")
    drained = {int(words[1]) for words in little.heard("drained")}
    assert drained == {survivor, newcomer}


def test_workers_that_fail_at_once_are_replaced_ever_more_slowly(start: Start) -> None:
    little = start("2", "failing")

    times: dict[int, float] = {}
    for words in little.hear("working", times=8):
        times[int(words[1])] = float(words[2])
    little.send(signal.SIGTERM)
    _, told = little.end()

    # Two places, each with four processes in turn and pauses of 0.1, 0.2 and 0.4 s between them.
    assert max(times.values()) - min(times.values()) >= 0.7
    assert "the worker's own fault" in told
    assert len(little.heard("worker_died")) >= 6


def test_a_store_that_cannot_be_used_ends_the_service(start: Start) -> None:
    little = start("2", "unusable", "dispatch")

    assert little.end() == (78, "worker: no such store\n" * 2)
    assert little.heard("worker_died") == []
    assert little.heard("started") == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_has_started_when_all_of_it_is_ready_however_soon_it_ends(
    start: Start, workers: str
) -> None:
    little = start(workers, "finishing", "dispatch")
    little.end()
    assert len(little.heard("started")) == 1


def test_workers_that_are_done_end_the_dispatcher_and_the_service(start: Start) -> None:
    little = start("2", "finishing", "dispatch")

    assert little.end() == (3, "")
    assert little.heard("stopped") == [["stopped", "little", "0"]]


def test_a_worker_that_ignores_the_stop_is_killed_in_time(start: Start) -> None:
    little = start("2", "stubborn")
    first, second = little.workers(2)

    little.send(signal.SIGTERM)

    assert little.end() == (1, "")
    assert little.heard("stopped") == [["stopped", "little", "2"]]
    assert gone(first)
    assert gone(second)


def test_signals_reach_every_worker_and_hints_one_of_them(start: Start) -> None:
    little = start("2", "patient", "dispatch")
    little.workers(2)
    little.hear("hint", "started")

    little.send(signal.SIGUSR1)
    little.hear("flush", times=2)
    little.hear("hint", "flushed")
    little.send(signal.SIGHUP)
    little.hear("reload", times=2)
    little.send(signal.SIGTERM)

    assert little.end() == (0, "")
    assert [words[1] for words in little.heard("hint")] == ["started", "flushed"]


def test_workers_drain_when_their_supervisor_is_killed(start: Start) -> None:
    little = start("2", "patient")
    workers = little.workers(2)

    little.process.kill()

    little.hear("drained", times=2)
    assert all(gone(pid) for pid in workers)


def test_a_worker_that_ignores_its_supervisors_death_ends_all_the_same(start: Start) -> None:
    little = start("2", "stubborn")
    workers = little.workers(2)

    little.process.kill()

    assert all(gone(pid) for pid in workers)


def test_the_service_manager_is_told(start: Start, sockets: Path) -> None:
    path = str(sockets / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(HANG)
        little = start("2", "patient", env={"NOTIFY_SOCKET": path})
        assert manager.recv(64) == b"READY=1"
        little.workers(2)

        little.send(signal.SIGTERM)

        assert manager.recv(64) == b"STOPPING=1"
    assert little.end() == (0, "")


NO_FORK = """
import errno, os, sys
from emailrelay.service.forked import Role
from emailrelay.service.supervisor import Supervisor

fork, forks = os.fork, 0

def sometimes():
    global forks
    forks += 1
    if forks == 2:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()

async def work(signals):
    return 3

os.fork = sometimes
roles = [Role("worker", work)] * 2
status = Supervisor("x", roles, report=print, ready=print, stopping=print).run()
print(forks, status)
"""


def test_a_system_that_has_no_process_left_ends_nothing() -> None:
    run = subprocess.run(
        [sys.executable, "-c", NO_FORK], check=True, capture_output=True, text=True, timeout=30
    )
    assert "cannot be started: Resource temporarily unavailable" in run.stdout
    assert run.stdout.splitlines()[-1] == "3 3"
