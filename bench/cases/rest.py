"""The idle cost of the services, their start time, and the cost of large mail."""

import contextlib
import socket
import subprocess
import time

from bench.case import BIN, Bench, Bound, Case, Figures, Goal
from bench.load import MIB, Load, warm_up
from bench.machine import at_rest, cpu, forget_peaks, peak, pss
from bench.peers import Ours, ours, postfix
from bench.sinks import sink

PSS, GREETING, IDLE_CPU = "PSS, MB", "start to greeting, s", "CPU % while idle"
SESSION, WORKER = "KiB an idle session", "PSS of a further worker, MB"
GROWTH, SUBMIT = "peak above idle, MiB", "emailrelay-submit, ms"
_MB = (1 << 20) / 1e6
_WATCHED = 10.0
_SESSIONS = 90
"""Fewer than one address may have at a time."""
_WORKERS = 3


def _idle(bench: Bench) -> Figures:
    began = time.monotonic()
    with ours(bench, filters=["exit:0"]) as peer:
        greeting = time.monotonic() - began
        at_rest(peer.pids())
        single = pss(peer.pids()) * _MB
        before, began = cpu(peer.pids()), time.monotonic()
        time.sleep(_WATCHED)  # the time over which idleness is measured
        busy = (cpu(peer.pids()) - before) / (time.monotonic() - began)
        session = _session(peer)
    with ours(bench, filters=["exit:0"], workers=1 + _WORKERS) as peer:
        at_rest(peer.pids())
        several = pss(peer.pids()) * _MB
    return {
        PSS: single,
        GREETING: greeting,
        IDLE_CPU: 100 * busy,
        SESSION: session,
        WORKER: (several - single) / (3 * _WORKERS),
    }


def _session(peer: Ours) -> float:
    receiver = [peer.processes["receiver"].pid]
    with contextlib.ExitStack() as stack:
        before = pss(receiver)
        for _ in range(_SESSIONS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", peer.port)))
            client.recv(512)
            client.sendall(b"EHLO bench.invalid\r\n")
            client.recv(512)
        return (pss(receiver) - before) * 1024 / _SESSIONS


def _postfix_idle(bench: Bench) -> Figures:
    began = time.monotonic()
    with postfix(bench) as peer:
        greeting = time.monotonic() - began
        return {PSS: pss(peer.pids()) * _MB, GREETING: greeting}


def _submit(bench: Bench) -> Figures:
    (bench.directory / "spool").mkdir()
    command = [str(BIN / "emailrelay-submit"), "--spool-dir", str(bench.directory / "spool")]
    message = b"Subject: bench\n\n" + b"x" * 60 + b"\n"
    times: list[float] = []
    for _ in range(bench.count(20, least=5)):
        began = time.monotonic()
        subprocess.run([*command, "to@bench.invalid"], input=message, check=True)
        times.append(1000 * (time.monotonic() - began))
    return {SUBMIT: sorted(times)[len(times) // 2]}


def _large(bench: Bench, load: Load) -> Figures:
    with (
        sink(messages=load.messages + load.sessions) as target,
        ours(bench, forward_to=target.port) as peer,
    ):
        warm_up(peer.port, load.sessions)
        at_rest(peer.pids())
        pids = peer.pids()
        forget_peaks(pids)
        before = peak(pids)
        load.send(peer.port)
        target.wait(200)
        return {GROWTH: peak(pids) - before}


def _one_large(bench: Bench) -> Figures:
    return _large(bench, Load(messages=1, octets=50 * MIB, sessions=1))


def _many_large(bench: Bench) -> Figures:
    sessions = bench.count(100, least=10)
    return _large(bench, Load(messages=sessions, octets=30 * MIB, sessions=sessions))


def _most(figure: str, synced: float) -> Goal:
    return Goal(figure=figure, bound=Bound.AT_MOST, synced=synced)


CASES = (
    Case(
        name="idle",
        words="three services, one worker each",
        contestants={"ours": _idle, "postfix": _postfix_idle},
        goals=(
            _most(PSS, 120),
            _most(WORKER, 12),
            _most(GREETING, 1),
            _most(SESSION, 25),
            _most(IDLE_CPU, 0.5),
        ),
        short=1.0,
    ),
    Case(
        name="submit",
        words="a small message from a program",
        contestants={"ours": _submit},
        goals=(_most(SUBMIT, 100),),
        short=1.0,
    ),
    Case(
        name="memory-50MiB",
        words="one message of 50 MiB",
        contestants={"ours": _one_large},
        goals=(_most(GROWTH, 8),),
        short=1.0,
    ),
    Case(
        name="memory-30MiB-100",
        words="100 messages of 30 MiB at once",
        contestants={"ours": _many_large},
        goals=(_most(GROWTH, 100),),
    ),
)
