"""Counters cost no system call: a relayed message makes as many with them as without."""

import smtplib
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.acceptance.relay import HANG, Relay
from tests.faults.tracing import missing, traced

pytest.importorskip("prometheus_client", reason="the extra metrics is not installed")

_MESSAGES = 20
_WAITING = "!futex,epoll_wait,epoll_pwait,clock_nanosleep,restart_syscall,sched_yield"
"""Calls whose number depends on the turns of threads and not on the work."""


def calls_of_messages(relay: Relay, *options: str) -> float:
    """Relay some messages, each after the one before; give the system calls for one."""
    sink = relay.sink().start()
    services = relay.receiver(*options).start(), relay.forwarder(sink.port, *options).start()
    receiver, forwarder = services
    with ExitStack() as stack, smtplib.SMTP("127.0.0.1", receiver.port, timeout=HANG) as client:
        client.sendmail("a@x.test", ["b@y.test"], "Subject: first\r\n\r\nx\r\n")
        forwarder.hear("delivered", 1)
        traces = [
            stack.enter_context(
                traced(each.pid, _made(relay.directory / each.name), calls=_WAITING)
            )
            for each in services
        ]
        for number in range(_MESSAGES):
            client.sendmail("a@x.test", ["b@y.test"], "Subject: x\r\n\r\nx\r\n")
            forwarder.hear("delivered", number + 2)
        lines = [line for trace in traces for line in trace.lines]
    relay.stop()
    return sum("<unfinished" not in line for line in lines) / _MESSAGES


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_relayed_message_makes_no_system_call_for_the_counters(tmp_path: Path) -> None:
    calls: dict[str, float] = {}
    for name, options in {"off": (), "on": ("--runtime-dir", str(tmp_path / "run"))}.items():
        relay = Relay(tmp_path / name)
        relay.directory.mkdir()
        try:
            calls[name] = calls_of_messages(relay, *options)
        finally:
            relay.clear_away()
    assert calls["off"] > 20, "the trace has the work of a message"
    # A sign of life every five seconds makes some.
    assert calls["on"] - calls["off"] < 3
