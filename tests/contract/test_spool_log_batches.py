"""Batches of the log: the loop writes them, a thread syncs them, the loop makes them visible."""

import asyncio
import errno
import fcntl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest

from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.durable import segment
from emailrelay.store.spool.durable.log import Log, Written
from emailrelay.store.spool.durable.records import Gone, Record
from emailrelay.store.spool.durable.segment import Segment
from emailrelay.store.spool.durable.syncer import Syncer


@pytest.fixture(name="log")
def make_log(tmp_path: Path) -> Iterator[Log]:
    log = Log(Directory(str(tmp_path)))
    log.begin()
    yield log
    log.close()


@pytest.fixture(name="other")
def lock_the_log(log: Log) -> Iterator[BinaryIO]:
    """Give a file that has the log's lock, as another process would, until it is closed."""
    with Path(log.directory.path, "tail").open("rb") as tail:
        fcntl.flock(tail, fcntl.LOCK_EX)
        yield tail


def gone(number: int) -> Gone:
    return Gone(QueueId(f"1.1.{number}"))


def found(log: Log) -> list[QueueId]:
    """Give the messages that the first opener would find."""
    ids: list[QueueId] = []
    for number in segment.numbers(log.directory):
        opened = segment.open_segment(log.directory, number)
        assert opened is not None
        ids += [read.id for read in opened.read()]
        opened.close()
    return ids


def test_what_was_written_before_a_failed_sync_is_refused_with_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = log.write_now([gone(1)])
    assert before is not None
    assert log.sync([before]) == {}
    first, second = log.write_now([gone(2)]), log.write_now([gone(3), gone(4)])
    assert first is not None
    assert second is not None
    with monkeypatch.context() as once:
        # As the kernel does: it reports lost data once, and the next sync succeeds.
        def fails(_segment: Segment) -> None:
            raise OSError(errno.EIO, "lost")

        once.setattr(Segment, "sync", fails)
        assert list(log.sync([first])) == [first.segment]
    assert list(log.sync([second])) == [first.segment]
    assert found(log) == [gone(1).id]
    last = log.write([gone(5)])
    assert last.segment.number > first.segment.number
    assert log.sync([last]) == {}
    assert found(log) == [gone(1).id, gone(5).id]
    for each in (before, first, second, last):
        each.shown()


def test_loop_does_not_wait_for_another_process(log: Log) -> None:
    with Path(log.directory.path, "tail").open("rb") as tail:
        fcntl.flock(tail, fcntl.LOCK_EX)
        assert log.write_now([gone(1)]) is None
    written = log.write_now([gone(2)])
    assert written is not None
    written.shown()
    assert found(log) == [gone(2).id]


class Looks:
    """The looks of the loop for the log's lock, and what happens after some of them."""

    def __init__(
        self, log: Log, patch: pytest.MonkeyPatch, after: dict[int, Callable[[], None]]
    ) -> None:
        self.made, self._after, self._write = 0, after, log.write_now
        patch.setattr(log, "write_now", self._look)

    def _look(self, batch: Sequence[Record]) -> Written | None:
        written = self._write(batch)
        self.made += 1
        if self.made in self._after:
            self._after[self.made]()
        return written


async def test_batch_waits_in_the_loop_while_another_process_writes(
    log: Log, other: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncer, in_thread = Syncer(log), list[Sequence[Record]]()
    monkeypatch.setattr(log, "write", in_thread.append)
    looks = Looks(log, monkeypatch, {2: other.close})
    first = asyncio.ensure_future(syncer.log(lambda: gone(1)))
    await asyncio.sleep(0)  # it is a job
    await asyncio.sleep(0)  # the first look
    second = asyncio.ensure_future(syncer.log(lambda: gone(2)))
    await asyncio.gather(first, second)
    assert looks.made == 4, "two were in vain"
    assert not in_thread
    await syncer.close()
    assert found(log) == [gone(1).id, gone(2).id]


async def test_thread_writes_what_the_loop_could_not(
    log: Log, other: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncer, began, ended = Syncer(log), asyncio.Event(), asyncio.Event()
    looks = Looks(log, monkeypatch, {1: began.set, 10: ended.set})
    first = asyncio.ensure_future(syncer.log(lambda: gone(1)))
    await began.wait()
    second = asyncio.ensure_future(syncer.log(lambda: gone(2)))  # waits for the first
    ending = asyncio.ensure_future(syncer.close())
    await ended.wait()  # five looks for each
    other.close()
    await asyncio.gather(first, second, ending)
    assert looks.made == 10
    assert found(log) == [gone(1).id, gone(2).id]


def test_loop_does_not_lay_out_a_segment(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "SIZE", 4 * 4096)
    kept = [written for n in range(9) if (written := log.write_now([gone(n)])) is not None]
    assert 0 < len(kept) < 9
    written = log.write([gone(9)])
    assert written.segment is not kept[0].segment
    for each in (*kept, written):
        each.shown()


def test_segment_stays_while_any_of_its_batches_is_not_shown(log: Log) -> None:
    first, second = log.write([gone(1)]), log.write([gone(2)])
    log.close()  # as if it had moved on: it writes to another segment now
    first.shown()
    other = segment.open_segment(log.directory, second.segment.number)
    assert other is not None
    assert not other.take()
    assert log.sync([second]) == {}
    second.shown()
    assert other.take()
    other.close()


def test_what_a_closed_loop_has_begun_is_finished(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncer, finished, go = Syncer(log), list[int](), threading.Event()
    sync = Segment.sync

    def late(segment: Segment) -> None:
        go.wait(60)
        sync(segment)

    monkeypatch.setattr(Segment, "sync", late)
    begun: list[asyncio.Task[None]] = []

    async def begin() -> None:
        for number in (1, 2):

            def finish(_error: OSError | None, number: int = number) -> None:
                finished.append(number)

            work = syncer.log(partial(gone, number), finish)
            begun.append(asyncio.ensure_future(work))
            await asyncio.sleep(0.05)  # so each is a batch of its own

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()
    go.set()
    end = time.monotonic() + 10
    while len(finished) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert finished == [1, 2]

    async def more() -> None:
        await syncer.log(lambda: gone(3))  # the thread lives
        await syncer.close()

    asyncio.run(more())
    assert found(log) == [gone(number).id for number in (1, 2, 3)]
    del begun[:]
