"""Data is written before its syncs as long as the disk takes it at once."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from emailrelay import linux
from emailrelay.store.spool.durable.data_first import DataFirst

LOST = OSError(errno.EIO, "lost writes")


class Disk:
    """Takes some seconds for each wait, and notes what it is asked for."""

    def __init__(self, seconds: float, refused: Sequence[int] = ()) -> None:
        self.seconds, self.refused = seconds, refused
        self.now = 0.0
        self.begun: list[int] = []
        self.waited: list[int] = []

    def clock(self) -> float:
        return self.now

    def begin(self, descriptor: int) -> None:
        self.begun.append(descriptor)
        if descriptor in self.refused:
            raise LOST

    def wait(self, descriptor: int) -> None:
        self.waited.append(descriptor)
        self.now += self.seconds
        if descriptor in self.refused:
            raise LOST


def on(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> DataFirst:
    monkeypatch.setattr(linux, "begin_writing", disk.begin)
    monkeypatch.setattr(linux, "wait_for_writing", disk.wait)
    return DataFirst(disk.clock)


def test_every_file_is_begun_and_the_last_one_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk(0.001)
    first = on(disk, monkeypatch)
    assert first.write((3, 4, 5), alone=False) == {}
    assert first.write((), alone=False) == {}
    assert first.write((6,), alone=False) == {}
    assert (disk.begun, disk.waited) == ([3, 4], [5, 6])


def test_errors_are_those_of_their_files_since_a_sync_may_not_repeat_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk(0.001, refused=(3, 5))
    assert on(disk, monkeypatch).write((3, 4, 5), alone=False) == {3: LOST, 5: LOST}


@pytest.mark.parametrize(("alone", "seconds", "flushes"), [(False, 0.01, 50), (True, 0.03, 5)])
def test_slow_disk_is_asked_again_after_some_flushes(
    monkeypatch: pytest.MonkeyPatch, *, alone: bool, seconds: float, flushes: int
) -> None:
    disk = Disk(seconds)
    first = on(disk, monkeypatch)
    for _ in range(flushes + 2):
        first.write((3,), alone=alone)
    assert disk.waited == [3, 3]


def test_message_alone_waits_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(0.01)
    first = on(disk, monkeypatch)
    for _ in range(3):
        first.write((3,), alone=True)
    assert disk.waited == [3, 3, 3]


def test_data_of_a_real_file_is_written(tmp_path: Path) -> None:
    file = os.open(tmp_path / "content", os.O_CREAT | os.O_RDWR)
    os.write(file, b"x")
    assert DataFirst().write((file,), alone=False) == {}
    os.close(file)
