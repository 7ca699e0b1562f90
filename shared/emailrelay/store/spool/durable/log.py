"""The log that all processes of a spool write together: batches in one order, each made durable by a sync.

Being one for all, it has one order: no settlement stands before the commit that it settles, so a segment
taken away takes nothing from the meaning of those behind it.
"""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from emailrelay.errors import StoreUnusable
from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.durable import records, segment
from emailrelay.store.spool.durable.records import BLOCK, Gone, Record
from emailrelay.store.spool.durable.segment import Segment
from emailrelay.store.spool.durable.tail import LogPosition, Tail

LARGEST_CONTENT = 256 * 1024
"""Octets of a content that goes into the log; a larger one is quicker synced as the file it is."""
LARGEST_BATCH = 2 * 1024 * 1024
_SEGMENTS = 32
"""As many segments there may be, if checkpoints lag behind."""
_OLD = 10.0
"""Seconds after its first batch that a segment is closed, so that its checkpoint can be made."""
_SURE = 20_000_000
"""Nanoseconds since a directory's last change after which another one shows in its change time."""
_SICKNESS = "the spool's disk has failed; its log is kept for a restart"
_TAIL, _SICK = "tail", "sick"


class LogGone(OSError):
    """The log was removed or replaced: nobody would find what is written to it."""

    def __init__(self, directory: str) -> None:
        """Name the log's directory."""
        super().__init__(errno.ESTALE, f"the log in {directory} was removed or replaced")


@dataclass(slots=True, eq=False)
class Written:
    """A batch in the log, which keeps its segment there until ``shown``."""

    segment: Segment
    offset: int

    def shown(self) -> None:
        """Let the segment go: the messages' own files show what the batch says, or it was refused."""
        self.segment.unshare()


class Log:
    """One process's hand on the log under ``directory``. Threads may share it."""

    def __init__(self, directory: Directory) -> None:
        """Nothing is opened before it is needed."""
        self.directory = directory
        self._one = threading.Lock()
        self._one_syncs = threading.Lock()
        self._tail: Tail | None = None
        self._segment: Segment | None = None
        self._broken: set[int] = set()
        """Segments of which a sync has failed."""
        self._seen: tuple[int, int, int, Segment] | None = None
        """How the directory looked when it was last known to have a segment, and not to be sick."""
        self._found_sick = False
        self._begun = False
        self.behind = 0
        """Segments that this process has closed since it last looked for what can be taken away."""

    def in_use(self) -> bool:
        """Tell whether this spool has a log, so that settlements must go there."""
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

    def _surely(self, tail: Tail) -> None:
        """See to it that what is opened or made by its path belongs to the log whose tail is locked."""
        if not tail.is_linked():
            raise LogGone(str(self.directory))

    def write_now(self, batch: Sequence[Record]) -> Written | None:
        """Write a batch if nothing need be waited for; None: nothing was done."""
        if not self._one.acquire(blocking=False):
            return None
        try:
            return self._write(batch, wait=False)
        except (OSError, MemoryError):  # whoever tries again is told
            return None
        finally:
            self._one.release()

    def write(self, batch: Sequence[Record]) -> Written:
        """Write a batch, which is not on stable storage before ``sync``. Blocks; for a thread.

        Raises:
            OSError: it is not written.

        """
        with self._one:
            return self._write(batch, wait=True)

    def _write(self, batch: Sequence[Record], *, wait: bool) -> Written:
        with self._appended(batch, wait=wait) as written:
            written.segment.share()
        return written

    def sync(self, batches: Iterable[Written]) -> dict[Segment, OSError]:
        """Put batches on stable storage; gives the segments with whose batches that has failed.

        These may be there all the same, but nobody shall find them, since all that is in them is refused.
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
                with contextlib.suppress(OSError):
                    each.segment.write(bytes(BLOCK), each.offset)
        return failed

    def _sync(self, segment: Segment) -> OSError | None:
        # Never again one that has failed: the kernel may have dropped what it could not write, of batches
        # that were written meanwhile, too, and tells of it once.
        # Nor may another thread's sync hear of no error while this one is told of it.
        with self._one_syncs:
            if segment.number in self._broken:
                return OSError(errno.EIO, "an earlier sync of the log has failed")
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
        """Refuse a batch that no later process would find, or that is written to a sick log.

        By its path, whatever is open: an administrator may have removed the log, or moved the spool. One
        system call a batch tells that nothing has changed, since each change of a name shows in the
        directory's change time.

        Raises:
            LogGone: the segment is not at its path any more.
            OSError: the log is sick, or out of reach.

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
        self._found_sick = self.is_sick()
        if self._found_sick:
            raise OSError(errno.EIO, _SICKNESS)
        # Within one tick of the kernel's clock a second change would not show.
        self._seen = looks if now - status.st_ctime_ns > _SURE else None

    def stands(self) -> bool:
        """Tell whether the log that this process writes is the one at its path."""
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
        """Let go of a log that was removed or replaced: the next batch goes to what is at its path."""
        with self._one:
            self._let_go()
            self._broken.clear()

    @contextmanager
    def durable(self, batch: Sequence[Record]) -> Generator[None]:
        """Have a batch on stable storage; inside the block the messages' files are made to show it. Blocks.

        Raises:
            OSError: it is not; the log may have it all the same, but nobody was told.

        """
        written = self.write(batch)
        try:
            for error in self.sync((written,)).values():
                raise error
            yield
        finally:
            written.shown()

    def forget(self, message: QueueId, *, wait: bool = True) -> None:
        """Note that a message is gone, without a sync: as lasting as the removal of its files.

        Without ``wait`` it is left, if anything need be waited for.
        """
        if self.in_use() and self._one.acquire(blocking=wait):
            try:
                with contextlib.suppress(OSError), self._appended((Gone(message),), wait=wait):
                    pass
            finally:
                self._one.release()

    @contextmanager
    def _appended(self, batch: Sequence[Record], *, wait: bool = True) -> Generator[Written]:
        """Append a batch; in the block nobody else writes."""
        if self._found_sick and self.is_sick():
            raise OSError(errno.EIO, _SICKNESS)
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
                    writing.write(bytes(BLOCK), here.offset)  # nobody shall find what is refused
                raise

    def _place(
        self, tail: Tail, place: LogPosition | None, room: int
    ) -> tuple[Segment, LogPosition] | None:
        """Give the segment to write to, and where, if it has the room; the tail is locked."""
        if place is None or place.number in self._broken:
            return None
        writing = self._open(tail, place.number)
        if writing is None or place.offset + room > segment.SIZE:
            return None
        return writing, place

    def _open(self, tail: Tail, number: int) -> Segment | None:
        if self._segment is None or self._segment.number != number:
            self._surely(tail)
            try:
                self._change(segment.open_segment(self.directory, number))
            except StoreUnusable as error:
                raise OSError(errno.EPROTO, str(error)) from error
        return self._segment

    def _next(self, tail: Tail, place: LogPosition | None) -> tuple[Segment, LogPosition]:
        self._surely(tail)
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
        """Close the segment that is written to if it has been for long enough.

        Raises:
            OSError: there can be no new one.

        """
        if not self.in_use():
            return
        with self._one, self._opened().locked() as place:
            if place is None or not place.since:
                return
            if not 0 <= time.time() - place.since < _OLD:
                self._next(self._opened(), place)

    def is_empty(self) -> bool:
        """Tell whether nothing was written since the last segment was closed."""
        if not self.in_use():
            return True
        with self._one, self._opened().locked() as place:
            return place is None or not place.since

    def closed(self) -> list[Segment]:
        """Open all segments that nobody writes to any more, in their order; the caller closes them."""
        if not self.in_use():
            return []
        with self._one, self._opened().locked() as place:
            current = 0 if place is None else place.number
        opened: list[Segment] = []
        for number in segment.numbers(self.directory):
            if number < current:
                found = segment.open_segment(self.directory, number)
                if found is not None:
                    opened.append(found)
        return opened

    def is_sick(self) -> bool:
        """Tell whether a checkpoint has failed: files may be lost that only the log has whole."""
        return files.is_there(self.directory / _SICK)

    def fall_sick(self) -> None:
        """Have all processes refuse to go on; the next first opener restores the files from the log."""
        with contextlib.suppress(FileExistsError):
            os.close(files.create(self.directory / _SICK))

    def end(self) -> None:
        """Take the log away, when its segments are gone and no other process has the spool open."""
        self.close()
        for name in (_TAIL, _SICK):
            files.remove(self.directory / name)
        segment.remove_spare(self.directory)

    def close(self) -> None:
        """Close the files."""
        self._let_go()

    def _let_go(self) -> None:
        self._change(None)
        if self._tail is not None:
            self._tail.close()
            self._tail = None
