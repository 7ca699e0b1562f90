"""Any system call of a message's life may fail: clients get 4xx, mail is tried again, none is lost.

One call fails at a time, in a service that runs on: the next message passes as if nothing had been.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest
from tests.acceptance.relay import Relay, Service, until
from tests.faults import tracing
from tests.faults.checker import Client
from tests.faults.extent import LONG
from tests.faults.report import Report
from tests.faults.tracing import Call, Trace, traced
from tests.faults.trio import Session, Trio

ERRORS = {
    "openat": ("EMFILE", "ENOSPC", "EROFS", "EIO"),
    "write": ("ENOSPC", "EIO"),
    "pwrite64": ("ENOSPC", "EIO"),
    "sendfile": ("ENOSPC", "EIO"),
    "fsync": ("EIO", "ENOSPC"),
    "fdatasync": ("EIO", "ENOSPC"),
    "io_submit": ("EAGAIN", "EIO"),
    "sync_file_range": ("EIO", "ENOSPC"),
    "renameat": ("EIO", "ENOSPC", "EROFS"),
    "unlinkat": ("EIO", "EROFS"),
    "mkdir": ("ENOSPC", "EROFS"),
    "rmdir": ("EIO",),
    "flock": ("EIO",),
    "fchmod": ("EIO",),
    "utimensat": ("EIO",),
    "close": ("EIO",),
    "sendto": ("ENOBUFS",),
}
AROUND_A_FILTER = {
    "pipe2": ("EMFILE",),
    "clone3": ("EAGAIN",),
    "pidfd_open": ("EMFILE",),
    "prlimit64": ("EPERM",),
}
"""The calls by which filterd runs a program and learns of its end."""
SHORT = ("openat", "write", "io_submit", "fsync", "renameat")
"""The calls of the receiver that a short run has fail, the last of each."""
PATIENCE = 400.0
"""Seconds until all is delivered: after trouble the next try is in a minute or two."""


@dataclass
class Outcome:
    """The outcome of the calls that failed."""

    tried: int = 0
    met: int = 0
    """The number of calls that happened and failed this time: the work of the threads varies."""
    accepted: set[str] = field(default_factory=set[str])
    refused: dict[str, int] = field(default_factory=dict[str, int])
    wrong: list[str] = field(default_factory=list[str])

    def add(self, session: Session) -> None:
        client = session.client()
        self.accepted |= client.accepted
        self.refused.update(client.refused)

    @property
    def client(self) -> Client:
        return Client(accepted=self.accepted, refused=self.refused)


@pytest.fixture(autouse=True)
def _strace() -> None:
    reason = tracing.missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def trio(relay: Relay) -> Trio:
    trio = Trio(relay, relay.spool)
    trio.start()
    trio.warm_up()
    return trio


def faults(trio: Trio, victim: Service) -> Iterator[tuple[Call, str]]:
    """Give each call of a message's life in a service, with each error that it may have."""
    with traced(victim.pid, trio.relay.directory) as trace:
        trio.pass_on(trio.send(1))
        calls = trace.calls(on=f"{trio.spool}/")
    for call in calls if LONG else _some(calls):
        for error in ERRORS.get(call.name, ()) if LONG else ERRORS[call.name][:1]:
            yield call, error


def _some(calls: list[Call]) -> list[Call]:
    return list({call.name: call for call in calls if call.name in SHORT}.values())


def test_a_call_that_fails_in_the_receiver_puts_the_client_off(trio: Trio, report: Report) -> None:
    outcome = Outcome()
    for call, error in faults(trio, trio.receiver):
        outcome.tried += 1
        tamper = f"{call.name}:error={error}:when={call.nth}"
        with traced(trio.receiver.pid, trio.relay.directory, tamper) as trace:
            session = trio.send(1)
            outcome.add(session)
            if not trace.failed:
                continue
            outcome.met += 1
            if session.broken:
                outcome.wrong.append(f"{call} {error}: the connection broke")
        again = trio.send(1)
        outcome.add(again)
        if not again.accepted:
            outcome.wrong.append(f"{call} {error}: the next message is not accepted")
    judge(trio, outcome, "receiver", report)


def met_or_passed(trio: Trio, trace: Trace, session: Session) -> None:
    until(lambda: trace.failed or trio.passed(session), "the call fails, or is not made")


def fail_behind_the_receiver(
    trio: Trio, victim: Service, failing: Iterable[tuple[Call, str]], calls: str = tracing.CALLS
) -> Outcome:
    """Let calls of filterd or a forwarder fail, one a message; another message follows each."""
    outcome = Outcome()
    for call, error in failing:
        outcome.tried += 1
        tamper = f"{call.name}:error={error}:when={call.nth}"
        with traced(victim.pid, trio.relay.directory, tamper, calls) as trace:
            session = trio.send(1)
            met_or_passed(trio, trace, session)
            outcome.met += bool(trace.failed)
        outcome.add(session)
        again = trio.send(1)
        outcome.add(again)
        trio.pass_on(again)
    return outcome


@pytest.mark.skipif(not LONG, reason="takes minutes: make faults")
@pytest.mark.parametrize("service", ["filterd", "forwarder"])
def test_a_call_that_fails_behind_the_receiver_delays_a_message_at_most(
    service: str, trio: Trio, report: Report
) -> None:
    victim = trio.filterd if service == "filterd" else trio.forwarder
    # Which close is the n-th depends on the programs that are run, and one of a pipe cannot fail.
    failing = [fault for fault in faults(trio, victim) if fault[0].name != "close"]
    judge(trio, fail_behind_the_receiver(trio, victim, failing), service, report)


@pytest.mark.skipif(not LONG, reason="takes minutes: make faults")
def test_a_call_that_fails_around_a_filter_delays_a_message_at_most(
    trio: Trio, report: Report
) -> None:
    calls = ",".join(AROUND_A_FILTER)
    with traced(trio.filterd.pid, trio.relay.directory, calls=calls) as trace:
        trio.pass_on(trio.send(1))
        made = trace.calls()
    assert {call.name for call in made} == AROUND_A_FILTER.keys()
    failing = [(call, error) for call in made for error in AROUND_A_FILTER[call.name]]
    outcome = fail_behind_the_receiver(trio, trio.filterd, failing, calls)
    judge(trio, outcome, "filterd around a filter", report)


def judge(trio: Trio, outcome: Outcome, service: str, report: Report) -> None:
    # A settlement that failed after the delivery may bring the message again: then the log says so.
    doubts = outcome.met if service == "forwarder" else 0
    found = trio.verdict(outcome.client, doubts, noted=True, patience=PATIENCE)
    outcome.wrong += map(str, found)
    report.figure(
        f"calls of {service} that failed",
        f"{outcome.met}; {len(outcome.accepted)} accepted, {len(outcome.refused)} put off,"
        f" {len(outcome.wrong)} wrong",
    )
    assert outcome.wrong == []
    assert 2 * outcome.met > outcome.tried
