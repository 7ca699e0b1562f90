"""Counts instructions with valgrind (callgrind), which needs no calm machine, only patience.

They are those of user space: system calls count as nothing, so compare their numbers as well.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.case import BIN, Bench
from bench.load import KIB, Load
from bench.peers import Ours, ours
from bench.sinks import sink
from bench.turns import deliveries

_VALGRIND = ("valgrind", "--tool=callgrind")
_COLLECTED = re.compile(r"Collected : (\d+)")
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)
_FEW, _MANY = 100, 2100
_PATIENCE = 1800.0
_WARM = 8
_SETTLING = 3.0
"""Seconds in which a service ends its work after the last delivery, at a fiftieth of its speed."""


def of_work(name: str) -> float:
    """Return the instructions of some work of ``bench.counted`` for one message."""
    few, many = (_of_run(name, messages) for messages in (_FEW, _MANY))
    return (many - few) / (_MANY - _FEW)


def _of_run(name: str, messages: int) -> int:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        python = [sys.executable, "-m", "bench.counted", name, str(messages), directory]
        command = [*_VALGRIND, "--callgrind-out-file=/dev/null", *python]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    found = _COLLECTED.search(said)
    if found is None:
        raise ValueError(f"valgrind told no number: {said}")
    return int(found[1])


def of_relay(bench: Bench, options: Sequence[str]) -> float:
    """Return the instructions of receiver and forwarder for one message of 10 KiB."""
    messages, counts = bench.count(100), bench.directory / "callgrind"
    python = (*_VALGRIND, "-q", f"--callgrind-out-file={counts}.%p", str(BIN / "python"))
    with (
        sink() as target,
        ours(
            bench,
            forward_to=target.port,
            receiver=options,
            forwarder=options,
            wrapper=python,
            patience=_PATIENCE,
        ) as relay,
    ):
        _send(relay, _WARM)
        _tell_all(relay, "--zero")
        _send(relay, messages)
        _tell_all(relay, "--dump")
        for process in relay.processes.values():
            process.kill()  # its end would take minutes
    dumps = [Path(f"{counts}.{pid}.1").read_text() for pid in relay.pids()]
    return sum(int(found[1]) for dump in dumps if (found := _TOTAL.search(dump))) / messages


def _send(relay: Ours, messages: int) -> None:
    log = relay.spool.parent / "forwarder.log"
    wanted = deliveries(log) + messages
    Load(messages=messages, octets=10 * KIB, sessions=4).send(relay.port)
    deadline = time.monotonic() + _PATIENCE
    while deliveries(log) < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{wanted - deliveries(log)} messages were not delivered")
        time.sleep(0.2)  # smtp-sink gives no sign of a delivery
    time.sleep(_SETTLING)  # the last settlements follow the last delivery


def _tell_all(relay: Ours, what: str) -> None:
    for pid in relay.pids():
        command = ["callgrind_control", what, str(pid)]
        subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE)
