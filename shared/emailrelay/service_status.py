"""The status file of a service: it says that the service lives, and the state of its processes.

Its main process writes the file every few seconds and removes it at a clean end. A file that is not
renewed belongs to a service that was killed or is stuck.
"""

import errno
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from emailrelay import process_state
from emailrelay.process_state import ProcessState
from emailrelay.runtime_dir import STATUS

_LARGEST = 16 * 1024 * 1024
"""The most octets of a file that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process of the service."""

    pid: int
    age: float
    """Seconds since it last did something."""
    state: ProcessState


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """A service, as its main process knows it."""

    service: str
    pid: int
    written: float
    """Time of writing, on the monotonic clock of this host in seconds."""
    limit: float
    """Seconds without a sign of life after which a process counts as stuck."""
    wanted: int
    """Processes that should work."""
    ready: bool
    """The service was once ready for work, and was not told to stop."""
    processes: tuple[ProcessStatus, ...]


def write(runtime_dir: Path, status: ServiceStatus) -> None:
    """Replace the file of the service, whole.

    Raises:
        OSError: it cannot be written.

    """
    text = json.dumps(
        {
            "service": status.service,
            "pid": status.pid,
            "written": status.written,
            "limit": status.limit,
            "wanted": status.wanted,
            "ready": status.ready,
            "processes": [
                [each.pid, each.age, json.loads(process_state.written(each.state))]
                for each in status.processes
            ],
        }
    )
    path = _path(runtime_dir, status.service)
    scratch = path.with_name(f".{status.service}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(scratch, flags, 0o640)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 -- it is open already
        file.write(text)
    scratch.replace(path)


def remove(runtime_dir: Path, service: str, pid: int) -> None:
    """Remove the file of a service that ends, unless another process has written it since."""
    with suppress(OSError, ValueError):
        if read(runtime_dir, service).pid == pid:
            _path(runtime_dir, service).unlink()


def read(runtime_dir: Path, service: str) -> ServiceStatus:
    """Read the file of a service.

    Raises:
        FileNotFoundError: the service does not run, or has no runtime directory.
        OSError, ValueError: it cannot be read.

    """
    path = _path(runtime_dir, service)
    # Neither a link nor a FIFO: another user may have made the directory.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 -- it is open already
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        found = json.loads(file.read(_LARGEST))
    try:
        return ServiceStatus(
            service=service,
            pid=int(found["pid"]),
            written=float(found["written"]),
            limit=float(found["limit"]),
            wanted=int(found["wanted"]),
            ready=bool(found["ready"]),
            processes=tuple(
                ProcessStatus(pid=int(pid), age=float(age), state=process_state.from_json(state))
                for pid, age, state in found["processes"]
            ),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the status of a service: {error!r}") from error


def _path(runtime_dir: Path, service: str) -> Path:
    return runtime_dir / STATUS / f"{service}.json"
