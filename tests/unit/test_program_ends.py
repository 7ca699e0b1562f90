"""The ends of programs: the loop watches one descriptor for all of them."""

import asyncio
import os
import sys

import pytest

from emailrelay.filters.program_ends import ProgramEnds

if sys.platform != "linux":
    pytest.skip("pidfds are Linux's", allow_module_level=True)

PATIENCE = 30.0


def watched_by_loop(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the descriptors that the loop watches."""
    loop = asyncio.get_running_loop()
    found, add = list[int](), loop.add_reader

    def noted(descriptor: int, *rest: object) -> None:
        found.append(descriptor)
        add(descriptor, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "add_reader", noted)
    return found


def started(code: int) -> tuple[int, int]:
    """Start a program that exits with this code; return its id and a pidfd."""
    argv = ["/bin/sh", "-c", f"exit {code}"]
    pid = os.posix_spawn(argv[0], argv, {})
    return pid, os.pidfd_open(pid)


async def test_each_end_is_told_once_and_one_descriptor_serves_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = watched_by_loop(monkeypatch)
    ends, told, last = ProgramEnds(), list[int](), asyncio.Event()

    def ended(number: int) -> None:
        told.append(number)
        if len(told) == 3:
            last.set()

    programs = [started(number) for number in range(3)]
    for number, (_, pidfd) in enumerate(programs):
        ends.watch(pidfd, lambda number=number: ended(number))  # type: ignore[misc]
    async with asyncio.timeout(PATIENCE):
        await last.wait()
    for pid, pidfd in programs:
        ends.forget(pidfd)  # as for a program that has been told of
        os.close(pidfd)
        await asyncio.to_thread(os.waitpid, pid, 0)
    assert sorted(told) == [0, 1, 2]
    assert len(watched) == 1
    ends.close()


async def test_forgotten_program_is_not_told_of() -> None:
    ends, told, last = ProgramEnds(), list[str](), asyncio.Event()
    (first, forgotten), (second, awaited) = started(0), started(0)
    ends.watch(forgotten, lambda: told.append("forgotten"))
    ends.forget(forgotten)
    os.close(forgotten)
    await asyncio.to_thread(os.waitpid, first, 0)
    ends.watch(awaited, last.set)
    async with asyncio.timeout(PATIENCE):
        await last.wait()
    await asyncio.to_thread(os.waitpid, second, 0)
    os.close(awaited)
    assert told == []
    ends.close()
