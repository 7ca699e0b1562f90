"""The start of filter programs: side by side, in threads, and cancelled in the middle of it."""

import asyncio
import errno
import os
import signal
import threading
from pathlib import Path

import pytest
from tests.service.filter_programs.program_desk import MESSAGE, Desk

from emailrelay.filters import spawn
from emailrelay.filters.child import Child
from emailrelay.filters.program import Exited, ProgramNotStarted, Programs


async def test_program_starts_in_the_same_surroundings_where_a_sandbox_forbids_unshare(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "_leave_the_others", lambda: False)
    script = desk.python(
        """
        import os
        print(os.getsid(0) == os.getpgid(0) == os.getpid(), oct(os.umask(0)), os.getcwd())
        """
    )
    for _ in range(2):
        outcome = await programs.run((script,), message=MESSAGE)
        assert outcome == Exited(0, b"True 0o77 /\n")


async def test_start_of_a_program_leaves_our_own_directory_and_umask_alone(
    programs: Programs,
) -> None:
    directory, umask = Path.cwd(), os.umask(0o027)
    try:
        assert await programs.run(("/bin/true",), message=MESSAGE) == Exited(0, b"")
        assert Path.cwd() == directory
    finally:
        assert os.umask(umask) == 0o027


class SlowStart:
    """Starts programs as ``spawn`` does, each as soon as it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.started: list[Child] = []
        self._real = spawn.spawned
        monkeypatch.setattr(spawn, "spawned", self._spawned)

    def _spawned(self, command: spawn.ProgramCommand) -> Child:
        self.reached.release()
        self.go.acquire()
        child = self._real(command)
        self.started.append(child)
        return child


@pytest.mark.linux
async def test_program_cancelled_at_its_start_is_killed(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowStart(monkeypatch)
    run = asyncio.create_task(programs.run((desk.script("sleep 100"),), message=MESSAGE))
    await asyncio.to_thread(slow.reached.acquire)
    run.cancel()
    await asyncio.sleep(0)
    run.cancel()
    await asyncio.sleep(0)
    slow.go.release()
    with pytest.raises(asyncio.CancelledError):
        await run
    (child,) = slow.started
    assert child.returncode == -signal.SIGKILL


@pytest.mark.linux
async def test_programs_start_side_by_side(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowStart(monkeypatch)
    script = desk.script("exit 0")
    runs = [asyncio.create_task(programs.run((script,), message=MESSAGE)) for _ in range(2)]
    for _ in runs:
        await asyncio.to_thread(slow.reached.acquire)
    slow.go.release(2)
    assert await asyncio.gather(*runs) == [Exited(0, b""), Exited(0, b"")]


@pytest.mark.linux
async def test_without_a_thread_the_program_is_not_started(
    desk: Desk, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        outcome = await programs.run((desk.script("exit 0"),), message=MESSAGE)
    assert outcome == ProgramNotStarted(os.strerror(errno.EAGAIN))
    assert await programs.run((desk.script("exit 0"),), message=MESSAGE) == Exited(0, b"")
