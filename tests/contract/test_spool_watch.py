"""The watch reports each closed file; names that arrive while its thread rests go together."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from emailrelay.store.spool.wake import inotify
from emailrelay.store.spool.wake.watch import Watch

DEADLINE = 10.0

pytestmark = pytest.mark.linux


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110 - names come from another thread
            await asyncio.sleep(0.01)


def close_files(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_bytes(b"")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_every_name_is_told_in_its_order(tmp_path: Path) -> None:
    told: list[str] = []
    looking = Watch(str(tmp_path), told.append)
    looking.open()
    try:
        names = [f"{number:03}" for number in range(200)]
        close_files(tmp_path, names[0])
        await eventually(lambda: bool(told))
        close_files(tmp_path, *names[1:])
        await eventually(lambda: len(told) == len(names))
        assert told == names
        assert looking.alive()
    finally:
        looking.close()
    assert not looking.alive()


async def test_first_name_after_a_rest_waits_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify, "_REST", 1000.0)
    told: list[str] = []
    looking = Watch(str(tmp_path), told.append)
    looking.open()
    try:
        close_files(tmp_path, "first")
        await eventually(lambda: told == ["first"])
        close_files(tmp_path, "second")
    finally:
        looking.close()  # the thread rests: it is not waited for that long
    looking.open()
    try:
        close_files(tmp_path, "third")
        await eventually(lambda: told == ["first", "third"])
    finally:
        looking.close()


async def test_directory_that_is_not_there_is_an_error_that_leaves_nothing_open(
    tmp_path: Path,
) -> None:
    looking = Watch(str(tmp_path / "gone"), lambda _name: None)
    before = open_files()
    for _ in range(20):
        with pytest.raises(FileNotFoundError):
            looking.open()
    assert not looking.alive()
    await eventually(lambda: open_files() <= before)
