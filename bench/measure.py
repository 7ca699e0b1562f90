"""One measurement: a load through one server, with the time, CPU and memory that it took."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.peers import Peer

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What smtp-source sends. One message a session unless ``keep``."""

    messages: int
    octets: int
    sessions: int
    keep: bool

    @property
    def words(self) -> str:
        """Say it for a table."""
        kept = "many" if self.keep else "one"
        size = f"{self.octets // 1024} KiB" if self.octets < 1 << 20 else f"{self.octets >> 20} MiB"
        return (
            f"{size}, {self.sessions} sessions, {kept} message{'s' if self.keep else ''} a session"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Messages a second accepted and relayed, CPU milliseconds a message, peak memory in MiB."""

    accepted: float
    relayed: float
    cpu: float
    memory: float


def run(peer: Peer, load: Load) -> Result:
    """Send the load and wait until the queue is empty."""
    before = {pid: _cpu(pid) for pid in peer.pids()}
    began = time.monotonic()
    command = ["/usr/sbin/smtp-source", "-s", str(load.sessions), "-l", str(load.octets)]
    command += ["-m", str(load.messages), "-f", "from@bench.invalid", "-t", "to@bench.invalid"]
    command += ["-d"] if load.keep else []
    subprocess.run([*command, f"127.0.0.1:{peer.port}"], check=True)
    accepted = time.monotonic()
    while peer.queued():
        time.sleep(0.02)
    done = time.monotonic()
    pids = peer.pids()
    # Postfix's processes come and go with the load; those that are there now did nearly all of it.
    spent = sum(_cpu(pid) - before.get(pid, 0.0) for pid in pids)
    return Result(
        accepted=load.messages / (accepted - began),
        relayed=load.messages / (done - began),
        cpu=1000 * spent / load.messages,
        memory=sum(_peak(pid) for pid in pids),
    )


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _peak(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "0 0")
    return int(line.split()[1]) / 1024
