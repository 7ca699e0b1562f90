"""The kernel's data on the machine and on running processes."""

import contextlib
import os
import platform
import re
import subprocess
import time
from collections.abc import Generator, Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
CPUS = len(os.sched_getaffinity(0))
_WAKE_LATENCY = Path("/dev/cpu_dma_latency")
_AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")


@contextlib.contextmanager
def awake() -> Generator[None]:
    """Let no CPU sleep, as on a machine that is busy all day.

    A virtual CPU that sleeps learns late of a finished disk request: an fsync of 0.5 ms becomes 1
    to 4. The kernel polls on an idle CPU while this file is open with the longest wait of 0 µs
    (PM QoS, docs.kernel.org/power/pm_qos_interface.html).
    """
    with _no_session_groups(), _WAKE_LATENCY.open("wb", buffering=0) as longest:
        longest.write(bytes(4))
        yield


@contextlib.contextmanager
def _no_session_groups() -> Generator[None]:
    """Make each thread count by itself, as under systemd.

    Else sessions are groups of equal weight (sched(7), autogroup), and a client of its own session
    has as much of a CPU as all processes of a server.
    """
    was = _AUTOGROUP.read_text() if _AUTOGROUP.exists() else None
    if was is not None:
        _AUTOGROUP.write_text("0")
    try:
        yield
    finally:
        if was is not None:
            _AUTOGROUP.write_text(was)


def tree(parents: Iterable[int]) -> list[int]:
    """Give the processes and all their descendants that are alive."""
    found: list[int] = []
    for pid in parents:
        if Path(f"/proc/{pid}").exists():
            found += [pid, *tree(_children(pid))]
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    found: list[int] = []
    for task in tasks:
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def cpu(parents: Iterable[int]) -> float:
    """Give the CPU seconds of processes and descendants, with those that ended and were reaped."""
    return sum(_cpu(pid) for pid in tree(parents))


def _cpu(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    return cpu_of(stat)


def cpu_of(stat: str) -> float:
    """Read the CPU seconds, with those of reaped children, from /proc/PID/stat."""
    # The command's name is in parentheses and may hold anything, parentheses too.
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def faults_of(stat: str) -> int:
    """Read the page faults, minor and major, from /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[7]) + int(fields[9])


def switches_of(status: str) -> int:
    """Read the context switches from /proc/PID/task/TID/status."""
    return sum(map(int, re.findall(r"^\w*voluntary_ctxt_switches:\s+(\d+)$", status, re.MULTILINE)))


def at_rest(parents: Iterable[int], seconds: float = 230.0) -> None:
    """Wait until the processes use almost no CPU for a second: their start is over."""
    deadline, pids = time.monotonic() + seconds, list(parents)
    while time.monotonic() < deadline:
        before = cpu(pids)
        time.sleep(1.0)  # the second that is measured
        if cpu(pids) - before < 0.03:
            return
    raise TimeoutError("the services do not come to rest")


def forget_peaks(parents: Iterable[int]) -> None:
    """Reset the kernel's record of the peaks of the processes' memory."""
    for pid in tree(parents):
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(parents: Iterable[int]) -> float:
    """Give the sum of the processes' peaks of resident memory, in MiB."""
    return sum(_kib(pid, "status", "VmHWM") for pid in tree(parents)) / 1024


def pss(parents: Iterable[int]) -> float:
    """Give the memory of the processes, with shared pages counted in parts, in MiB."""
    return sum(_kib(pid, "smaps_rollup", "Pss") for pid in tree(parents)) / 1024


def _kib(pid: int, file: str, key: str) -> float:
    try:
        return kib_of(Path(f"/proc/{pid}/{file}").read_text(), key)
    except OSError:
        return 0.0


def kib_of(text: str, key: str) -> float:
    """Read a figure in kB out of a file of /proc."""
    match = re.search(rf"^{key}:\s+(\d+) kB$", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"no {key} in {text[:80]!r}")
    return float(match[1])


def fsync_time(directory: Path, rounds: int = 50) -> float:
    """Give the median time of an append of 4 KiB and its fsync, in milliseconds."""
    times: list[float] = []
    path = directory / "fsync"
    with path.open("wb", buffering=0) as file:
        for _ in range(rounds):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return 1000 * sorted(times)[rounds // 2]


def description() -> str:
    """Describe the machine and the software."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = kib_of(Path("/proc/meminfo").read_text(), "MemTotal") / (1 << 20)
    return (
        f"{os.cpu_count()} CPUs ({model}), {memory:.0f} GiB, {platform.platform()},"
        f" Python {platform.python_version()}, Postfix {_postfix_version()}"
    )


def _postfix_version() -> str:
    try:
        command = ["/usr/sbin/postconf", "-h", "mail_version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "is not here"


def commit() -> str:
    """Return our commit, if git knows it."""
    try:
        command = ["git", "describe", "--always", "--dirty"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
