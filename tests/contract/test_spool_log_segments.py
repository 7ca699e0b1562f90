"""The files of a log's segments: one that is removed becomes the next, of any process."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk import files, locks
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.durable import segment
from emailrelay.store.spool.durable.checkpoint import Checkpoints
from emailrelay.store.spool.durable.log import Log
from emailrelay.store.spool.durable.records import Gone


@pytest.fixture(name="directory")
def make_directory(tmp_path: Path) -> Directory:
    return Directory(str(tmp_path))


@pytest.fixture(name="log")
def begin_log(directory: Directory) -> Iterator[Log]:
    log = Log(directory)
    log.begin()
    yield log
    log.close()


def _write(log: Log) -> None:
    written = log.write((Gone(QueueId("1.1.1")),))
    assert not log.sync((written,))
    written.shown()


def test_file_that_its_remover_still_has_locked_is_not_the_next_segment(
    directory: Directory,
) -> None:
    removed = segment.create(directory, 1)
    assert removed.take()
    segment.remove(directory, 1)
    made = segment.create(directory, 2)
    made.share()
    removed.close()
    with ExitStack() as opened:
        (other,) = segment.open_all(directory, opened)
        assert not other.take()
    made.unshare()
    made.close()


def test_file_of_a_removed_segment_is_the_next_one(directory: Directory) -> None:
    removed = segment.create(directory, 1)
    inode = files.status_of(removed.path).st_ino
    assert removed.take()
    segment.remove(directory, 1)
    removed.give_back()
    made = segment.create(directory, 2)
    assert files.status_of(made.path).st_ino == inode
    made.close()
    removed.close()


def test_who_finds_a_segment_removed_leaves_no_lock_on_its_file(directory: Directory) -> None:
    removed = segment.create(directory, 1)
    segment.remove(directory, 1)
    assert not removed.take()
    spare = files.open_to_write(directory / "spare")
    assert spare is not None
    assert not locks.is_locked(spare)
    files.close(spare)
    removed.close()


def test_batch_is_refused_if_its_segment_cannot_be_kept(log: Log, directory: Directory) -> None:
    _write(log)
    with ExitStack() as opened:
        (busy,) = segment.open_all(directory, opened)
        assert busy.take()
        with pytest.raises(BlockingIOError, match="another process has the lock"):
            log.write((Gone(QueueId("2.2.2")),))
        assert log.write_now((Gone(QueueId("2.2.2")),)) is None
        busy.give_back()
        _write(log)
        assert {read.id for read in busy.read()} == {"1.1.1"}


def test_checkpoint_gives_each_removed_file_back_before_the_next(
    log: Log, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emailrelay.store.spool.durable.log._OLD", 0.0)
    for _ in range(3):
        _write(log)
        log.close_old()
    remove, removed = segment.remove, list[int]()

    def watched(where: Directory, number: int) -> None:
        if removed:
            spare = files.open_to_write(where / "spare")
            assert spare is not None
            assert not locks.is_locked(spare)
            files.close(spare)
        remove(where, number)
        removed.append(number)

    monkeypatch.setattr(segment, "remove", watched)
    points = Checkpoints(directory.path, log)
    assert not points.make()
    points.close()
    assert removed == [1, 2, 3]
