"""Short trials of the services, each of which some fault in them cannot pass."""

import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from tests.acceptance.relay import Relay, until
from tests.faults.checker import Violation
from tests.faults.disk import Disk
from tests.faults.tracing import traced
from tests.faults.trio import Environment, Trio

MESSAGES = 10
PATIENCE = 30.0
"""Seconds in which a spool of a few messages must be empty."""
_SLOW = "fsync:delay_enter=200000"
"""Each sync of a directory takes so many microseconds longer: a step without it overtakes."""
_LARGEST_FILE = 50_000
_LARGER = 60_000

Trial: TypeAlias = Callable[[Relay, Disk, Environment], list[Violation]]
"""Tries a service started in the environment; gives the violations. Others are healthy."""


def cut_behind_the_250(relay: Relay, own: Disk, environment: Environment) -> list[Violation]:
    """Cut the power right behind the last 250 of a session."""
    trio = Trio(relay, own.root / "spool")
    trio.receiver.env = environment
    trio.start(trio.receiver)
    client = trio.send(MESSAGES).client()
    own.cut()
    assert len(client.accepted) == MESSAGES
    _after_the_cut(trio, own)
    return trio.verdict(client, 0, noted=False, patience=PATIENCE)


def cut_between_deliveries(relay: Relay, own: Disk, environment: Environment) -> list[Violation]:
    """Cut the power while messages go out over one connection, on a disk that syncs slowly."""
    trio = Trio(relay, own.root / "spool", forwarder=("--connections-per-route", "1"))
    trio.start(trio.receiver, trio.filterd)
    client = trio.send(MESSAGES).client()
    trio.filterd.hear("passed", MESSAGES)
    trio.forwarder.env = environment
    trio.start(trio.forwarder)
    with traced(trio.forwarder.pid, relay.directory, _SLOW, calls="fsync"):
        trio.sink.wait_for(MESSAGES // 2)
        trio.forwarder.send(signal.SIGSTOP)
        own.cut()
    _after_the_cut(trio, own)
    return trio.verdict(client, 1, noted=False, patience=PATIENCE)


def kill_at_the_dot(relay: Relay, own: Disk, environment: Environment) -> list[Violation]:
    """Kill a forwarder that waits for the answer to a final dot, and start it again."""
    trio = Trio(relay, own.root / "spool", sink=("--pause", "1"))
    trio.forwarder.env = environment
    trio.start()
    session = trio.send(1)
    until(lambda: _in_doubt(trio.spool), "a message is at its final dot")
    trio.forwarder.restart()
    return trio.verdict(session.client(), 1, noted=True, patience=PATIENCE)


def short_writes(relay: Relay, own: Disk, environment: Environment) -> list[Violation]:
    """Have the kernel write a part of the octets only; the returned count alone shows it."""
    trio = Trio(relay, own.root / "spool")
    trio.receiver.env = environment
    trio.start()
    limits = resource.prlimit(trio.receiver.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(trio.receiver.pid, resource.RLIMIT_FSIZE, (_LARGEST_FILE, limits[1]))
    client = trio.send(1, size=_LARGER).client()
    assert client.accepted or client.refused
    return trio.verdict(client, 0, noted=True, patience=PATIENCE)


def _in_doubt(spool: Path) -> bool:
    return any(sheet.read_bytes().strip() for sheet in (spool / ".doubt").iterdir())


def _after_the_cut(trio: Trio, own: Disk) -> None:
    """Give the power back, and start healthy services."""
    trio.kill()
    own.unmount()
    own.mount()
    for service in trio.services:
        service.env = None
    trio.start()
