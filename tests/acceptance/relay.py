"""The services as real processes around spools in a test's directory."""

import contextlib
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from tests.acceptance.sink import Arrival

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SAMPLE_FILTER = ROOT / "deploy" / "filters" / "add-relayed-header"
HANG = 120.0
"""Seconds before a test gives up waiting: ten times the need of a loaded machine."""
STOP_LIMIT = 30.0
"""Seconds in which a service told to stop must be gone: it promises five on a calm machine."""

Happening = dict[str, Any]
"""A line of a service's log."""
_FIRST_PORT, _PORTS_EACH, _PROCESSES = 10_240, 2_700, 8
"""The ports of tests: each of so many test processes has so many."""
_T = TypeVar("_T")


def until(condition: Callable[[], _T], what: str, seconds: float = HANG) -> _T:
    """Call ``condition`` until it returns something true; return that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.02)
    return found


def _own_ports() -> Iterator[int]:
    """Yield the ports of this test process, again and again: others that run beside it have others.

    They are outside the range of the ports that clients get.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    first = _FIRST_PORT + worker * _PORTS_EACH
    offset = random.randrange(_PORTS_EACH)  # noqa: S311 -- no secret
    for count in itertools.count(offset):
        yield first + count % _PORTS_EACH


_ports = _own_ports()


def free_port() -> int:
    """Give a free port that no other test takes before this one uses it."""
    while True:
        port = next(_ports)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Running(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Give the exit status, or None."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status."""
        ...


class Process:
    """A command that can be started again; a file collects all its output."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        directory: Path,
        *,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.errors = directory / f"{name}.err"
        self.command = command
        self._cwd, self.env = cwd, env
        self._process: Running | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        assert not self.running
        self._process = self.begin()

    def begin(self) -> Running:
        with self.log.open("ab") as log, self.errors.open("ab") as errors:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                cwd=self._cwd,
                env=self.env,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process; its workers notice that."""
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = HANG) -> int:
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> int:
        """Stop it with SIGTERM; return its exit status, which must come in time."""
        self.send(signal.SIGTERM)
        return self.wait(STOP_LIMIT)

    def clear_away(self) -> None:
        """End all its processes, workers included."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def memory(self) -> int:
        """Give the most memory it ever had, in octets."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024


class Service(Process):
    """One of the three services; its log is read as events."""

    def __init__(
        self, name: str, command: Sequence[str | Path], directory: Path, port: int = 0
    ) -> None:
        super().__init__(name, command, directory)
        self.port = port
        self.happenings: list[Happening] = []
        self._read = 0

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        before = len(self.events("started"))
        self.spawn()
        until(
            lambda: len(self.events("started")) > before or not self.running, f"{self.name} starts"
        )
        assert self.running, f"{self.name}: {self.errors.read_text()}{self.log.read_text()}"
        return self

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def events(self, kind: str, **fields: object) -> list[Happening]:
        """Give the events of this kind with these fields, logged since the test began."""
        self._take()
        return [h for h in self.happenings if _matches(h, {"event": kind, **fields})]

    def hear(self, kind: str, times: int = 1, **fields: object) -> list[Happening]:
        """Wait until it has logged this many; return them."""
        what = f"{self.name} tells {kind} {fields or ''} {times} times"
        return until(
            lambda: found if len(found := self.events(kind, **fields)) >= times else [], what
        )

    def workers(self) -> list[int]:
        """Give the process ids of its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(word) for word in children.split()]

    def _take(self) -> None:
        if not self.log.exists():
            return
        with self.log.open("rb") as log:
            log.seek(self._read)
            whole = log.read().rpartition(b"\n")[0]
        if whole:
            self._read += len(whole) + 1
            # Where a killed process broke off in a line, there is an empty one or half of one.
            self.happenings += [_parsed(line) for line in whole.split(b"\n")]


def _parsed(line: bytes) -> Happening:
    try:
        parsed: Happening = json.loads(line)
    except ValueError:
        return {"event": "", "text": line.decode(errors="replace")}
    return parsed


def _matches(happening: Mapping[str, object], fields: Mapping[str, object]) -> bool:
    return all(happening.get(key) == value for key, value in fields.items())


class Sink(Process):
    """The recording smarthost, see ``sink``."""

    def __init__(self, name: str, directory: Path, port: int, arguments: Sequence[str]) -> None:
        self.record = directory / f"{name}.record"
        module: list[str | Path] = [sys.executable, "-m", "tests.acceptance.sink"]
        where = ["--port", str(port), "--record", str(self.record)]
        super().__init__(name, [*module, *where, *arguments], directory)
        self.port = port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Self:
        self.spawn()
        until(self._answers, f"{self.name} listens")
        return self

    def arrivals(self) -> list[Arrival]:
        if not self.record.exists():
            return []
        lines = self.record.read_text().split("\n")[:-1]
        return [Arrival(**json.loads(line)) for line in lines]

    def wait_for(self, count: int) -> list[Arrival]:
        def enough() -> list[Arrival]:
            arrivals = self.arrivals()
            return arrivals if len(arrivals) >= count else []

        return until(enough, f"{count} messages arrive")

    def _answers(self) -> bool:
        assert self.running, self.errors.read_text()
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=HANG) as connection,
        ):
            return connection.recv(3) == b"220"
        return False


@dataclass
class Relay:
    """All the processes of a test. ``spool`` is the directory used unless another is named."""

    directory: Path
    processes: list[Process] = field(default_factory=list[Process])
    kind: type[Service] = Service
    """The way in which services are started."""
    store: str = ""
    """The URL of the store, if it is no spool."""

    @property
    def spool(self) -> Path:
        return self.directory / "spool"

    @property
    def services(self) -> list[Service]:
        return [process for process in self.processes if isinstance(process, Service)]

    def receiver(
        self, *arguments: str, name: str = "receiver", spool: Path | None = None
    ) -> Service:
        port = free_port()
        where = ("--interface", "127.0.0.1", "--port", str(port))
        return self._service("receiver", (*where, *arguments), name, spool, port)

    def filterd(self, *arguments: str, name: str = "filterd", spool: Path | None = None) -> Service:
        return self._service("filterd", arguments, name, spool)

    def forwarder(
        self, to: int, *arguments: str, name: str = "forwarder", spool: Path | None = None
    ) -> Service:
        # Most tests account for each message, and expect no others.
        where = ("--forward-to", f"127.0.0.1:{to}", "--bounces=no")
        return self._service("forwarder", (*where, *arguments), name, spool)

    def monitor(self, *arguments: str) -> Service:
        port = free_port()
        return self._service(
            "monitor", ("--monitor-port", str(port), *arguments), "monitor", None, port
        )

    def console(self, *arguments: str) -> Service:
        port = free_port()
        return self._service(
            "console", ("--console-port", str(port), *arguments), "console", None, port
        )

    def sink(self, *arguments: str, name: str = "sink", port: int = 0) -> Sink:
        sink = Sink(name, self.directory, port or free_port(), arguments)
        self.processes.append(sink)
        return sink

    def waiting(self, spool: Path | None = None) -> list[str]:
        """Give the names that an ``ls`` of the spool shows."""
        directory = spool or self.spool
        return sorted(path.name for path in directory.glob("[!.]*"))

    def drained(self, spool: Path | None = None) -> None:
        """Wait until the spool is empty."""
        until(lambda: not self.waiting(spool), "the spool is empty")

    def stop(self) -> None:
        """Stop all services at once, in time and with a clean end."""
        for service in self.services:
            if service.running:
                service.send(signal.SIGTERM)
        for service in self.services:
            assert service.wait(STOP_LIMIT) == 0, service.name

    def swept(self) -> None:
        """Start and stop a service once more, which removes what killed processes have left.

        The sweep after a kill leaves the work copy of a message that a forwarder has claimed.
        """
        self.stop()
        self.services[0].start()
        self.stop()

    def scraps(self, spool: Path | None = None) -> list[str]:
        """Give the entries under the spool's dot names that are left after all services stopped."""
        directory = spool or self.spool
        return [
            f"{name}/{entry}"
            for name in (".new", ".work", ".waiting", ".doubt", ".wake")
            if (directory / name).is_dir()
            for entry in os.listdir(directory / name)  # noqa: PTH208 -- names are wanted
        ]

    def possible_duplicates(self) -> set[str]:
        """Return the queue ids that a service has logged as possible duplicates."""
        return {
            str(happening["id"])
            for service in self.services
            for happening in service.events("possible_duplicate")
        }

    def clear_away(self) -> None:
        for process in self.processes:
            process.clear_away()

    def show(self) -> None:
        """Print the ends of all logs; pytest shows them if the test failed."""
        for process in self.processes:
            for path in (process.log, process.errors):
                if path.exists():
                    lines = [f"--- {path.name}", *path.read_text().splitlines()[-12:]]
                    sys.stdout.writelines(f"{line}\n" for line in lines)

    def faults(self) -> list[str]:
        """Give the events that no service may ever log: its own errors."""
        told = [h for s in self.services for h in s.events("internal_error")]
        written = [s.errors.read_text() for s in self.services if s.errors.exists()]
        return [str(fault) for fault in (*told, *written) if fault]

    def _service(
        self, kind: str, arguments: Sequence[str], name: str, spool: Path | None, port: int = 0
    ) -> Service:
        store = ("--store", self.store) if self.store else ()
        place = ("--spool-dir", str(spool or self.spool), "--log-format", "json", *store)
        command: list[str | Path] = [BIN / f"emailrelay-{kind}", *place, *arguments]
        service = self.kind(name, command, self.directory, port)
        self.processes.append(service)
        return service
