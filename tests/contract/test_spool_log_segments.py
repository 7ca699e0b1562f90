"""The files of a log's segments: one that is removed becomes the next, of any process."""

import time
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
    segment.remove(directory, 1, removed)
    made = segment.create(directory, 2)
    assert files.status_of(made.path).st_ino == inode
    made.close()
    removed.close()


def test_removed_file_is_free_before_the_sync_of_its_removal(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed, made = segment.create(directory, 1), list[segment.Segment]()
    inode = files.status_of(removed.path).st_ino
    assert removed.take()
    with monkeypatch.context() as patch:
        sync = files.sync_directory

        def meanwhile(where: Directory) -> None:
            patch.undo()
            made.append(segment.create(directory, 2))
            sync(where)

        patch.setattr(files, "sync_directory", meanwhile)
        segment.remove(directory, 1, removed)
    assert [files.status_of(each.path).st_ino for each in made] == [inode]
    for each in (removed, *made):
        each.close()


def test_batch_waits_for_a_checkpoint_that_has_its_segment_for_a_moment(
    log: Log, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(log)
    with ExitStack() as opened:
        (busy,) = segment.open_all(directory, opened)
        assert busy.take()

        def end_of_moment(_seconds: float) -> None:
            busy.give_back()

        monkeypatch.setattr(time, "sleep", end_of_moment)
        _write(log)


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

    def watched(where: Directory, number: int, taken: segment.Segment | None = None) -> None:
        if removed:
            spare = files.open_to_write(where / "spare")
            assert spare is not None
            assert not locks.is_locked(spare)
            files.close(spare)
        remove(where, number, taken)
        removed.append(number)

    monkeypatch.setattr(segment, "remove", watched)
    points = Checkpoints(directory.path, log)
    assert not points.make()
    points.close()
    assert removed == [1, 2, 3]
