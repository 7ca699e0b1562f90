"""A kill or a power cut at every system call of a message's life loses nothing and leaves only published states.

A kill falls before the call, a cut behind it; so each moment between two calls is met from both sides.
"""

from dataclasses import dataclass, field

import pytest
from tests.acceptance.relay import Relay, Service, until
from tests.faults import tracing
from tests.faults.checker import Violation, illegal
from tests.faults.disk import Disk
from tests.faults.extent import LONG, extent
from tests.faults.report import Report
from tests.faults.tracing import Call, traced
from tests.faults.trio import Trio

DECISIVE = {"receiver": "renameat", "filterd": "renameat", "forwarder": "unlinkat"}
"""The call after which another service has the mail: a short run takes the last one."""


@dataclass
class Tally:
    """The number of times a process was met at a call, and the violations then."""

    met: int = 0
    passed_by: list[Call] = field(default_factory=list[Call])
    """Calls that did not happen this time: the work of the threads varies."""
    wrong: list[str] = field(default_factory=list[str])

    def note(self, call: Call, when: str, found: list[Violation]) -> None:
        self.wrong += [f"{call}, {when}: {violation}" for violation in found]


@pytest.fixture
def trio(relay: Relay) -> Trio:
    return Trio(relay, relay.spool)


@pytest.fixture(autouse=True)
def _strace() -> None:
    reason = tracing.missing()
    if reason is not None:
        pytest.skip(reason)


def calls_of(trio: Trio, victim: Service) -> list[Call]:
    """Find out which calls a message's life has in one service."""
    with traced(victim.pid, trio.relay.directory) as trace:
        trio.pass_on(trio.send(1))
        found = trace.calls()
    decisive = [call for call in found if call.name == DECISIVE[victim.name]]
    assert len(decisive) > 1
    return found if LONG else decisive[-1:]


def kill_at(trio: Trio, victim: Service, call: Call, tally: Tally) -> None:
    tamper = f"{call.name}:signal=KILL:when={call.nth}"
    with traced(victim.pid, trio.relay.directory, tamper) as trace:
        session = trio.send(1)
        until(lambda: trace.killed or trio.passed(session), f"{victim.name} comes to {call}")
        if not trace.killed:
            tally.passed_by.append(call)
            return
    victim.wait()
    tally.met += 1
    tally.note(call, "killed", illegal(trio.spool))
    trio.start()
    dead_forwarders = 1 if victim is trio.forwarder else 0
    tally.note(call, "in the end", trio.verdict(session.client(), dead_forwarders, noted=True))


def cut_at(trio: Trio, own: Disk, victim: Service, call: Call, tally: Tally) -> None:
    tamper = f"{call.name}:signal=STOP:when={call.nth}"
    with traced(victim.pid, trio.relay.directory, tamper) as trace:
        session = trio.send(1)
        until(lambda: trace.stopped or trio.passed(session), f"{victim.name} comes to {call}")
        if not trace.stopped:
            tally.passed_by.append(call)
            return
        tally.note(call, "stopped", illegal(trio.spool))
        own.cut()
    trio.kill()
    tally.met += 1
    own.unmount()
    own.mount()
    tally.note(call, "after the cut", illegal(trio.spool))
    trio.start()
    # With any service stopped: the forwarder may have been removing a delivered message.
    tally.note(call, "in the end", trio.verdict(session.client(), 1, noted=False))


def test_a_kill_at_any_call_loses_nothing(trio: Trio, report: Report) -> None:
    trio.start()
    for victim in trio.services:
        tally = Tally()
        trio.warm_up()
        for call in calls_of(trio, victim):
            kill_at(trio, victim, call, tally)
            trio.warm_up()
        judge(tally, f"kills of {victim.name} at calls", report)


# The disk first: so the services on it are cleared away before it is.
@pytest.mark.parametrize("disk", extent(["ext4"], ["ext4", "xfs"]), indirect=True)
def test_a_power_cut_at_any_call_loses_nothing(disk: Disk, relay: Relay, report: Report) -> None:
    trio = Trio(relay, disk.root / "spool")
    trio.start()
    for victim in trio.services:
        tally = Tally()
        trio.warm_up()
        for call in calls_of(trio, victim):
            cut_at(trio, disk, victim, call, tally)
            trio.warm_up()
        judge(tally, f"power cuts on {disk.root.name} at calls of {victim.name}", report)


def judge(tally: Tally, what: str, report: Report) -> None:
    missed = ", ".join(map(str, tally.passed_by)) or "none"
    report.figure(what, f"{tally.met}, {len(tally.wrong)} wrong; not made again: {missed}")
    assert tally.wrong == []
    assert tally.met > len(tally.passed_by)
