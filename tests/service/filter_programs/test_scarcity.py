"""Descriptors and output that the runner cannot get."""

import gc
import os
from pathlib import Path

import pytest
from tests.service.enough_time import is_written, with_enough_time
from tests.service.filter_programs.program_desk import (
    MESSAGE,
    Desk,
    eventually,
    gone,
    number_in,
    trouble,
)

from emailrelay.filters.guard import Guard
from emailrelay.filters.program import Broken, ProgramLimits, ProgramNotStarted, Programs


async def test_runs_leak_no_descriptors_and_no_zombies(desk: Desk, programs: Programs) -> None:
    script = desk.script("exit 0")
    await desk.ask(programs, script)
    before = descriptors()
    for _ in range(20):
        await desk.ask(programs, script)
        await desk.ask(programs, desk.folder / "missing")
    assert descriptors() == before
    assert not [pid for pid in children() if gone(pid)]


def descriptors() -> int:
    gc.collect()  # an earlier test may have left an open file that nobody refers to
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> list[int]:
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(pid) for pid in found.split()]


@pytest.mark.linux
async def test_too_few_descriptors_hold_the_message_back(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = desk.script("sleep 60")

    def refuse(_: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    outcome = await programs.run((script,), message=MESSAGE)
    assert outcome == ProgramNotStarted("Too many open files")
    assert not [pid for pid in children() if gone(pid)]


async def test_program_that_cannot_be_attended_to_is_ended_and_the_message_waits(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await programs.run(("/bin/true",), message=MESSAGE)  # one-time descriptors are open now
    before, guard = descriptors(), children()

    def refuse(_: int, __: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "set_blocking", refuse)
    outcome = await programs.run((desk.script("sleep 60"),), message=MESSAGE)
    assert outcome == Broken("Cannot allocate memory")
    assert not [pid for pid in children() if gone(pid)]
    assert children() == guard
    assert descriptors() == before


@pytest.mark.parametrize("script", ["echo some; sleep 60", "exit 0"], ids=["runs", "ends"])
async def test_output_that_cannot_be_read_makes_the_message_wait(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    await programs.run(("/bin/true",), message=MESSAGE)  # one-time descriptors are open now
    read, guard = os.read, children()

    def fail(descriptor: int, most: int) -> bytes:
        if not os.get_blocking(
            descriptor
        ):  # ours: what Popen reads of the child's start is blocking
            raise OSError(5, "Input/output error")
        return read(descriptor, most)

    monkeypatch.setattr(os, "read", fail)
    spoken = await desk.ask(programs, desk.script(script))
    assert "Input/output error" in trouble(spoken).reason
    assert children() == guard


@pytest.mark.linux
async def test_leftovers_that_could_not_be_looked_for_are_ended_by_the_next_look(
    desk: Desk, hasty: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([OSError(24, "Too many open files")])
    look = Guard.end_older

    def fail_once(guard: Guard, then: float) -> None:
        for error in looks:
            raise error
        look(guard, then)

    monkeypatch.setattr(Guard, "end_older", fail_once)
    number = desk.folder / "number"
    script = desk.script(f"setsid sleep 60 >/dev/null & echo $! > {number}")

    async def attempt(seconds: float) -> bool:
        hasty.limits = ProgramLimits(timeout=seconds, grace=0.2)
        await desk.ask(hasty, script)
        return is_written(number)

    await with_enough_time(attempt)
    pid = number_in(number)
    await eventually(lambda: gone(pid))
