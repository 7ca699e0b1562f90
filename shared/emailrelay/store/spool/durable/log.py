"""The log that all processes of a spool write: batches in one order, each made durable by a sync.

One log has one order: no settlement comes before its commit. So a segment can be removed without
changing the meaning of those after it.
"""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from emailrelay.errors import StoreUnusable
from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import CLOCK_GRAIN, Directory
from emailrelay.store.spool.durable import records, segment
from emailrelay.store.spool.durable.failure_mark import FailureMark
from emailrelay.store.spool.durable.jobs import NotRecorded
from emailrelay.store.spool.durable.records import BLOCK, Gone, Record
from emailrelay.store.spool.durable.segment import Segment
from emailrelay.store.spool.durable.tail import LogPosition, Tail

LARGEST_CONTENT = 256 * 1024
"""Octets of a content that goes into the log; to sync a larger one as a file is quicker."""
LARGEST_BATCH = 2 * 1024 * 1024
_SEGMENTS = 32
"""Segments that there may be while checkpoints lag behind."""
_OLD = 10.0
"""Seconds after its first batch until a segment is closed, so that it can be removed."""
_FAILURE = "the spool's disk has failed; its log is kept for a restart"
_EARLIER = "an earlier sync of the log has failed"
_TAIL = "tail"


class LogGone(NotRecorded):
    """The log was removed or replaced: no process would find what is written to it."""

    def __init__(self, directory: str) -> None:
        """Name the directory of the log."""
        super().__init__(errno.ESTALE, f"the log in {directory} was removed or replaced")


@dataclass(slots=True, eq=False)
class Written:
    """A batch in the log, which keeps its segment until ``shown``."""

    segment: Segment
    offset: int

    def refuse(self) -> None:
        """Overwrite it, so that replay does not find it."""
        with contextlib.suppress(OSError):
            self.segment.write(bytes(BLOCK), self.offset)

    def shown(self) -> None:
        """Release the segment: the messages' own files show the batch, or it was refused."""
        self.segment.unshare()


class Log:
    """The log under ``directory``, as one process has it open. Threads may share it."""

    def __init__(self, directory: Directory) -> None:
        """Open nothing yet."""
        self.directory = directory
        self._one = threading.Lock()
        self._one_syncs = threading.Lock()
        self._tail: Tail | None = None
        self._segment: Segment | None = None
        self._broken: set[int] = set()
        """Segments with a failed sync."""
        self._seen: tuple[int, int, int, Segment] | None = None
        """The directory's state, and the segment found there, at the last complete check."""
        self._mark = FailureMark(directory)
        self._found_failed = self._begun = False
        self.behind = 0
        """Segments that this process has closed since its last checkpoint."""

    def in_use(self) -> bool:
        """Tell if the spool has a log now; then settlements must go there."""
        return self._tail is not None or files.is_there(self.directory / _TAIL)

    def begin(self) -> None:
        """Make a log, unless the spool has one.

        Raises:
            OSError: there is no room for it.

        """
        self._begun = True
        with self._one, self._opened().locked() as place:
            if place is None:
                self._next(self._opened(), place)
                segment.reserve(self.directory)

    def begin_again(self) -> None:
        """Do as ``begin`` after ``leave``, if this process has begun a log before."""
        if self._begun:
            self.begin()

    def _opened(self) -> Tail:
        if self._tail is None:
            try:
                self._tail = Tail(self.directory / _TAIL)
            except FileNotFoundError as error:
                raise LogGone(str(self.directory)) from error
        return self._tail

    def _check_path(self, tail: Tail) -> None:
        """Check that the path leads to the log whose tail is locked."""
        if not tail.is_linked():
            raise LogGone(str(self.directory))

    def write_now(self, batch: Sequence[Record]) -> Written | None:
        """Write a batch if that needs no wait; None: nothing was done."""
        if not self._one.acquire(blocking=False):
            return None
        try:
            return self._write(batch, wait=False)
        except (OSError, MemoryError):  # the next try raises it
            return None
        finally:
            self._one.release()

    def write(self, batch: Sequence[Record]) -> Written:
        """Write a batch, which is durable only after ``sync``. Blocks; for a thread.

        Raises:
            OSError: it is not written.

        """
        with self._one:
            return self._write(batch, wait=True)

    def _write(self, batch: Sequence[Record], *, wait: bool) -> Written:
        with self._appended(batch, wait=wait) as written:
            written.segment.share(wait=wait)
        return written

    def sync(self, batches: Iterable[Written]) -> dict[Segment, OSError]:
        """Put batches on stable storage; return the segments for which that has failed.

        Their batches are overwritten: all records in them are refused, so replay must not find
        them.
        """
        failed: dict[Segment, OSError] = {}
        synced: set[Segment] = set()
        for each in batches:
            if each.segment not in synced:
                synced.add(each.segment)
                error = self._sync(each.segment)
                if error is not None:
                    failed[each.segment] = error
            if each.segment in failed:
                each.refuse()
        return failed

    def sync_beside(self, batches: Sequence[Written]) -> int | None:
        """Return an open file whose sync makes batches durable (``judge``); None: use ``sync``."""
        segments = {each.segment for each in batches}
        if len(segments) != 1 or any(each.number in self._broken for each in segments):
            return None
        try:
            return segments.pop().beside()
        except OSError:
            return None

    def judge(self, batches: Sequence[Written], error: OSError | None) -> OSError | None:
        """Return the error of batches after such a sync, which may have failed; as ``sync``.

        No other sync of that open file may have begun meanwhile.
        """
        segment = batches[0].segment
        if error is not None:
            self._broken.add(segment.number)
        elif segment.number in self._broken:
            error = OSError(errno.EIO, _EARLIER)
        else:
            try:
                self._check(segment)
            except OSError as found:
                error = found
        if error is not None:
            for each in batches:
                each.refuse()
        return error

    def _sync(self, segment: Segment) -> OSError | None:
        # A failed sync is not repeated: the kernel may have dropped data, also of batches written
        # meanwhile, and it reports that once. So no other thread may sync at the same time: one
        # would get no error for data that is lost.
        with self._one_syncs:
            if segment.number in self._broken:
                return OSError(errno.EIO, _EARLIER)
            try:
                segment.sync()
            except OSError as error:
                self._broken.add(segment.number)
                return error
            try:
                self._check(segment)
            except OSError as error:
                return error
        return None

    def _check(self, segment: Segment) -> None:
        """Refuse a batch that no later process would find, or whose log is kept for a restart.

        An administrator may have removed the log, or moved the spool, so the path counts. One
        system call for each batch shows that nothing has changed: each change of a name changes the
        directory's change time.

        Raises:
            LogGone: the path does not lead to the segment any more.
            OSError: a checkpoint has failed, or the log cannot be reached.

        """
        now = time.time_ns()
        try:
            status = os.stat(self.directory.path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise LogGone(str(self.directory)) from error
        looks = status.st_dev, status.st_ino, status.st_ctime_ns, segment
        if looks == self._seen:
            return
        self.directory.renew_all()
        tail = self._tail
        if not segment.is_linked() or not (tail is None or tail.is_linked()):
            raise LogGone(str(self.directory))
        self._found_failed = self.has_failed()
        if self._found_failed:
            raise OSError(errno.EIO, _FAILURE)
        # Within one tick of the kernel's clock a second change would not show.
        self._seen = looks if now - status.st_ctime_ns > CLOCK_GRAIN else None

    def is_current(self) -> bool:
        """Tell if the path leads to the log that this process writes."""
        with self._one:
            if self._tail is None:
                return True
            with self._tail.locked() as place:
                writing = self._segment
                current = (
                    writing is not None and place is not None and writing.number == place.number
                )
                lost = writing is not None and current and not writing.is_linked()
                return self._tail.is_linked() and not lost

    def leave(self) -> None:
        """Close a log that was removed or replaced; the next batch goes to the log at the path."""
        with self._one:
            self.close()
            self._broken.clear()
            self._mark.forget()

    @contextmanager
    def durable(self, batch: Sequence[Record]) -> Generator[None]:
        """Put a batch on stable storage; in the block the messages' files are changed. Blocks.

        Raises:
            OSError: that has failed. The log may have the batch, but the block was not entered.

        """
        written = self.write(batch)
        try:
            for error in self.sync((written,)).values():
                raise error
            yield
        finally:
            written.shown()

    def forget(self, message: QueueId, *, wait: bool = True) -> None:
        """Note that a message is gone, without a sync: it lasts as long as its files' removal.

        Without ``wait`` nothing is written if that needs a wait.
        """
        if self.in_use() and self._one.acquire(blocking=wait):
            try:
                with contextlib.suppress(OSError), self._appended((Gone(message),), wait=wait):
                    pass
            finally:
                self._one.release()

    @contextmanager
    def _appended(self, batch: Sequence[Record], *, wait: bool = True) -> Generator[Written]:
        """Append a batch; in the block no other thread or process writes."""
        if self._found_failed and self.has_failed():
            raise OSError(errno.EIO, _FAILURE)
        room = records.room(sum(map(records.size, batch)))
        tail = self._opened()
        with tail.locked(wait=wait) as place:
            found = self._place(tail, place, room)
            if found is None:
                if not wait:
                    raise BlockingIOError(errno.EAGAIN, "a new segment is to be laid out")
                found = self._next(tail, place)
            writing, here = found
            try:
                writing.write(records.batch(writing.mark, batch), here.offset)
                tail.put(LogPosition(writing.number, here.offset + room, here.since or time.time()))
                yield Written(writing, here.offset)
            except OSError:
                with contextlib.suppress(OSError):
                    writing.write(bytes(BLOCK), here.offset)  # replay must not find a refused batch
                raise

    def _place(
        self, tail: Tail, place: LogPosition | None, room: int
    ) -> tuple[Segment, LogPosition] | None:
        """Return the segment and offset to write to, if there is room; the tail is locked."""
        if place is None or place.number in self._broken:
            return None
        writing = self._open(tail, place.number)
        if writing is None or place.offset + room > segment.SIZE:
            return None
        return writing, place

    def _open(self, tail: Tail, number: int) -> Segment | None:
        if self._segment is None or self._segment.number != number:
            self._check_path(tail)
            try:
                self._change(segment.open_segment(self.directory, number))
            except StoreUnusable as error:
                raise OSError(errno.EPROTO, str(error)) from error
        return self._segment

    def _next(self, tail: Tail, place: LogPosition | None) -> tuple[Segment, LogPosition]:
        self._check_path(tail)
        numbers = segment.numbers(self.directory)
        if len(numbers) >= _SEGMENTS:
            raise OSError(errno.ENOSPC, "the log is full: its checkpoints lag behind")
        number = max([*numbers, 0 if place is None else place.number]) + 1
        created = segment.create(self.directory, number)
        self._change(created)
        begun = LogPosition(number, BLOCK, 0.0)
        tail.put(begun)
        self.behind += 1
        return created, begun

    def _change(self, to: Segment | None) -> None:
        if self._segment is not None:
            self._segment.close()
        self._segment = to

    def close_old(self) -> None:
        """Close the current segment if its first batch is old enough.

        Raises:
            OSError: a new one cannot be made.

        """
        if not self.in_use():
            return
        with self._one, self._opened().locked() as place:
            if place is None or not place.since:
                return
            if not 0 <= time.time() - place.since < _OLD:
                self._next(self._opened(), place)

    def is_empty(self) -> bool:
        """Tell if nothing was written since the last segment was closed."""
        if not self.in_use():
            return True
        with self._one, self._opened().locked() as place:
            return place is None or not place.since

    def closed(self, opened: ExitStack) -> list[Segment]:
        """Open all segments before the current one, in order; ``opened`` closes them."""
        if not self.in_use():
            return []
        with self._one, self._opened().locked() as place:
            current = 0 if place is None else place.number
        return segment.open_all(self.directory, opened, before=current)

    def has_failed(self) -> bool:
        """Tell if a checkpoint has failed: files may be lost that only the log has whole."""
        return self._mark.is_set()

    def mark_failed(self) -> None:
        """Have all processes refuse mail, until a first opener restores the files from the log."""
        self._found_failed = True
        self._mark.set()

    def end(self) -> None:
        """Remove the log, after its segments; no other process has the spool open."""
        self.close()
        files.remove(self.directory / _TAIL)
        self._mark.remove()
        segment.remove_spare(self.directory)

    def close(self) -> None:
        """Close the files."""
        self._change(None)
        if self._tail is not None:
            self._tail.close()
            self._tail = None
