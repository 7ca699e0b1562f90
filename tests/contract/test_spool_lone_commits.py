"""A commit without others around it: the event loop stands still for its syncs, within bounds."""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.disk.kernel_syncs import KernelSyncs
from emailrelay.store.spool.durable import loop_flushes
from emailrelay.store.spool.durable.log import Log
from emailrelay.store.spool.durable.syncer import Syncer

pytestmark = pytest.mark.linux
LOST = OSError(errno.EIO, "lost writes")
ENOUGH = 8
"""Commits alone, one after the other, before the next one is taken for alone."""


@pytest.fixture
async def syncer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Syncer]:
    """Give a syncer that has had only commits alone, on a disk that is never too slow."""
    monkeypatch.setattr(loop_flushes, "_PATIENCE", 30.0)
    syncer = Syncer(Log(Directory(str(tmp_path))))
    for _ in range(ENOUGH):
        await syncer.run((_file(tmp_path),), (), urgent=True)
        await asyncio.sleep(0)
    yield syncer
    await syncer.close()


def _file(root: Path) -> int:
    return os.open(root / "file", os.O_CREAT | os.O_RDWR)


async def _turns(work: asyncio.Future[None]) -> int:
    turns = 0
    while not work.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


def _commit(syncer: Syncer, root: Path) -> asyncio.Task[None]:
    return asyncio.create_task(syncer.run((_file(root),), (Directory(str(root)),), urgent=True))


async def test_commit_alone_is_done_in_the_turn_in_which_it_begins(
    syncer: Syncer, tmp_path: Path
) -> None:
    assert await _turns(_commit(syncer, tmp_path)) == 1


async def test_commits_of_one_turn_are_collected_behind_the_first(
    syncer: Syncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    real = KernelSyncs.begin

    def begin(
        kernel: KernelSyncs, key: int, files: list[int], directories: list[int]
    ) -> list[OSError | None]:
        begun.append(len(files))
        return real(kernel, key, files, directories)

    monkeypatch.setattr(KernelSyncs, "begin", begin)
    await asyncio.gather(*(_commit(syncer, tmp_path) for _ in range(4)))
    assert begun == [1, 3]
    await asyncio.gather(*(_commit(syncer, tmp_path) for _ in range(4)))
    assert begun == [1, 3, 4]


async def test_work_without_a_client_that_waits_never_stops_the_loop(
    syncer: Syncer, tmp_path: Path
) -> None:
    removal = asyncio.create_task(syncer.run((_file(tmp_path),), ()))
    assert await _turns(removal) > 1


async def test_syncs_that_take_too_long_end_in_the_loop_and_the_next_are_not_waited_for(
    syncer: Syncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []

    def ended_within(
        _kernel: KernelSyncs, count: int, _seconds: float
    ) -> list[tuple[int, OSError | None]]:
        waits.append(count)
        return []

    monkeypatch.setattr(KernelSyncs, "ended_within", ended_within)
    for _ in range(3):
        await _commit(syncer, tmp_path)
    assert waits == [2]


async def test_error_of_a_sync_that_was_waited_for_reaches_the_caller(
    syncer: Syncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = KernelSyncs.ended_within

    def ended_within(
        kernel: KernelSyncs, count: int, seconds: float
    ) -> list[tuple[int, OSError | None]]:
        return [(key, LOST) for key, _ in real(kernel, count, seconds)]

    monkeypatch.setattr(KernelSyncs, "ended_within", ended_within)
    with pytest.raises(OSError, match="lost writes"):
        await _commit(syncer, tmp_path)
