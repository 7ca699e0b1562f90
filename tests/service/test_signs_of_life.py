"""A service shows that it lives: to the service manager, and in its status file."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.service.test_service_processes import HANG, Little, Start
from tests.service.test_service_processes import start as start  # noqa: PLC0414 -- the fixture

from emailrelay import process_state, service_status
from emailrelay.process_state import AccountState, ProcessState
from emailrelay.service import service_manager
from emailrelay.service.shared_states import SharedStates, SignOfLife
from emailrelay.service_status import ServiceStatus


class Manager:
    """What systemd hears."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.heard: list[str] = []

    def until(self, wanted: str) -> None:
        """Listen until something was said."""
        self.socket.settimeout(HANG)
        while True:
            said = self.socket.recv(4096).decode().split("\n")
            self.heard += said
            if wanted in said:
                return

    def forget(self) -> None:
        """Forget what was said so far."""
        self.heard.clear()
        self.socket.settimeout(0)
        try:
            while self.socket.recv(4096):
                pass
        except BlockingIOError:
            return

    def environment(self, seconds: float) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(int(seconds * 1e6))}


@pytest.fixture
def manager(sockets: Path) -> Iterator[Manager]:
    manager = Manager(sockets / "notify")
    yield manager
    manager.socket.close()


def status_when(runtime: Path, wanted: Callable[[ServiceStatus], bool]) -> ServiceStatus:
    """Wait for a status file that says what is wanted."""
    deadline = time.monotonic() + HANG
    while True:
        try:
            status = service_status.read(runtime, "little")
        except FileNotFoundError:
            status = None
        if status is not None and wanted(status):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.02)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_living_service_answers_the_watchdog_and_tells_its_work(
    start: Start, manager: Manager, workers: str
) -> None:
    start(workers, "sticking", env=manager.environment(2))
    manager.until("READY=1")
    for _ in range(3):
        manager.until("WATCHDOG=1")
    sessions = "1 session" if workers == "1" else "2 sessions"
    assert manager.heard.count(f"STATUS=working hard, {sessions}") == 1


def test_without_a_watchdog_only_the_state_is_told(start: Start, manager: Manager) -> None:
    little = start("1", "sticking", env={"NOTIFY_SOCKET": str(manager.path)})
    manager.until("STATUS=working hard, 1 session")
    little.send(signal.SIGTERM)
    manager.until("STOPPING=1")
    assert "WATCHDOG=1" not in manager.heard


def test_a_service_whose_loop_is_stuck_does_not_answer(start: Start, manager: Manager) -> None:
    little = start("1", "sticking", env=manager.environment(1))
    manager.until("WATCHDOG=1")
    little.send(signal.SIGUSR1)
    deadline = time.monotonic() + HANG
    while stack_says_sleep(little) is False:
        assert time.monotonic() < deadline
    manager.forget()
    manager.socket.settimeout(1.5)
    with pytest.raises(TimeoutError):
        manager.socket.recv(4096)


def stack_says_sleep(little: Little) -> bool:
    """Tell whether the process sleeps in ``time.sleep`` for an hour, and not in its event loop."""
    name = Path(f"/proc/{little.process.pid}/wchan").read_text("ascii")
    return "nanosleep" in name


def test_a_supervisor_names_the_worker_that_is_stuck_and_stops_answering(
    start: Start, manager: Manager
) -> None:
    # Half of the time must be more than a slow machine lets the other worker wait.
    little = start("2", "sticking", env=manager.environment(6))
    first, _ = little.workers(2)
    manager.until("WATCHDOG=1")
    os.kill(first, signal.SIGUSR1)
    (told,) = little.hear("unresponsive")
    assert told[1:3] == ["little", str(first)]
    manager.forget()
    manager.socket.settimeout(4)
    with pytest.raises(TimeoutError):
        manager.socket.recv(4096)
    os.kill(first, signal.SIGKILL)
    manager.until("WATCHDOG=1")  # its place is taken by another


def test_the_status_file_names_each_process_and_goes_with_the_service(
    start: Start, tmp_path: Path
) -> None:
    runtime = tmp_path / "run"
    little = start("2", "sticking", "dispatch", env={"RUNTIME": str(runtime)})
    workers = set(little.workers(2))
    status = status_when(runtime, lambda found: len(found.processes) == 3)
    assert status.pid == little.process.pid
    assert (status.wanted, status.ready) == (3, True)
    assert workers < {each.pid for each in status.processes}
    working = [each.state for each in status.processes if each.pid in workers]
    assert working == [ProcessState(doing="working hard", sessions=1)] * 2
    little.send(signal.SIGTERM)
    little.end()
    assert list((runtime / "status").iterdir()) == []


def test_the_status_file_of_a_killed_service_stays_and_grows_old(
    start: Start, tmp_path: Path
) -> None:
    runtime = tmp_path / "run"
    little = start("1", "sticking", env={"RUNTIME": str(runtime)})
    status_when(runtime, lambda found: found.ready)
    little.send(signal.SIGKILL)
    little.end()
    assert service_status.read(runtime, "little").written < time.monotonic()


def test_a_runtime_directory_that_cannot_be_used_is_reported_and_the_work_goes_on(
    start: Start, tmp_path: Path
) -> None:
    little = start("1", "patient", env={"RUNTIME": str(tmp_path / "none" / "run")})
    (told,) = little.hear("monitor_trouble")
    assert any(word.startswith(str(tmp_path / "none" / "run")) for word in told)
    assert little.workers(1)


def test_a_state_keeps_what_it_says() -> None:
    state = ProcessState(
        doing="delivering to a.test:25",
        trouble="no",
        sessions=3,
        waiting=12,
        routes={"isp": "", "home": "connection refused"},
        accounts={"office": AccountState(until=4e9, trouble="expired")},
    )
    assert process_state.read(process_state.written(state)) == state
    assert process_state.in_words([state, ProcessState(sessions=1)]) == "no, 12 waiting, 4 sessions"


def test_a_state_is_bounded_whatever_a_peer_says() -> None:
    said = {f"route{number}": f"4{number:02} \x1b[2J" + "x" * 5000 for number in range(900)}
    said["good"] = ""
    octets = process_state.written(ProcessState(trouble="y\r\n" * 5000, routes=said))
    assert len(octets) <= process_state.LARGEST
    state = process_state.read(octets)
    assert len(state.trouble) == 200
    few = {"a": "\x1b[2J" + "x" * 5000}
    (text,) = process_state.read(process_state.written(ProcessState(routes=few))).routes.values()
    assert text.isprintable()
    assert len(text) == 200


def test_a_state_that_is_being_written_leaves_the_one_before() -> None:
    states = SharedStates(2)
    assert states.read(1) is None
    whole = SignOfLife(7, 1.0, ProcessState(doing="first"))
    states.write(1, whole)
    assert states.read(1) == whole
    assert states.read(0) is None
    states.memory[16408 + 24 : 16408 + 30] = b"torn!!"
    assert states.read(1) == whole


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2000000"}, 2.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "7"}, 2.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_for_the_main_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert service_manager.watchdog_seconds(environ, 7) == seconds
