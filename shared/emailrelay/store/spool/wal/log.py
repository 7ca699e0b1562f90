"""The log that all processes of a spool write together: batches in one order, each made durable by a sync.

Being one for all, it has one order: no settlement stands before the commit that it settles, so a segment
taken away takes nothing from the meaning of those behind it.
"""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from emailrelay.errors import StoreUnusable
from emailrelay.queue_id import QueueId
from emailrelay.store.spool import files
from emailrelay.store.spool.wal import records, segment
from emailrelay.store.spool.wal.records import BLOCK, Gone, Record
from emailrelay.store.spool.wal.segment import Segment
from emailrelay.store.spool.wal.tail import Place, Tail

LARGEST_CONTENT = 256 * 1024
"""Octets of a content that goes into the log; a larger one is quicker synced as the file it is."""
LARGEST_BATCH = 2 * 1024 * 1024
_SEGMENTS = 32
"""As many segments there may be, if checkpoints lag behind."""
_OLD = 10.0
"""Seconds after its first batch that a segment is closed, so that its checkpoint can be made."""
_TAIL, _SICK = "tail", "sick"


class Log:
    """One process's hand on the log under ``directory``. Threads may share it."""

    def __init__(self, directory: str) -> None:
        """Nothing is opened before it is needed."""
        self.directory = directory
        self._one = threading.Lock()
        self._tail: Tail | None = None
        self._segment: Segment | None = None
        self._broken: int | None = None
        self.behind = 0
        """Segments that this process has closed since it last looked for what can be taken away."""

    def in_use(self) -> bool:
        """Tell whether this spool has a log, so that settlements must go there."""
        return self._tail is not None or os.access(f"{self.directory}/{_TAIL}", os.F_OK)

    def begin(self) -> None:
        """Have a log from now on.

        Raises:
            OSError: there is no room for it.

        """
        with self._one, self._opened().locked() as place:
            if place is None:
                self._next(self._opened(), place)
                segment.reserve(self.directory)

    def _opened(self) -> Tail:
        if self._tail is None:
            self._tail = Tail(f"{self.directory}/{_TAIL}")
        return self._tail

    @contextmanager
    def durable(self, batch: Sequence[Record]) -> Generator[None]:
        """Have a batch on stable storage; inside the block the messages' files are made to show it.

        Raises:
            OSError: it is not; the log may have it all the same, but nobody was told.

        """
        with self._one:
            written, offset = self._append(batch, share=True)
            written = written.again()  # another thread may move on to the next segment meanwhile
        try:
            self._sync(written, offset)
            yield
        finally:
            written.unshare()
            written.close()

    def forget(self, message: QueueId) -> None:
        """Note that a message is gone, without a sync: as lasting as the removal of its files."""
        if self.in_use():
            with self._one, contextlib.suppress(OSError):
                self._append((Gone(message),), share=False)

    def _append(self, batch: Sequence[Record], *, share: bool) -> tuple[Segment, int]:
        if self.is_sick():
            raise OSError(errno.EIO, "the spool's disk has failed; its log is kept for a restart")
        length = sum(map(records.size, batch))
        tail = self._opened()
        with tail.locked() as place:
            writing, here = self._place(tail, place, records.room(length))
            writing.write(records.batch(writing.mark, batch), here.offset)
            since = here.since or time.time()
            tail.put(Place(writing.number, here.offset + records.room(length), since))
            if share:
                writing.share()
        return writing, here.offset

    def _place(self, tail: Tail, place: Place | None, needed: int) -> tuple[Segment, Place]:
        """Give the segment to write to, and where; the tail is locked."""
        if place is not None and place.number != self._broken:
            writing = self._open(place.number)
            if writing is not None and place.offset + needed <= segment.SIZE:
                return writing, place
        return self._next(tail, place)

    def _open(self, number: int) -> Segment | None:
        if self._segment is None or self._segment.number != number:
            try:
                self._change(segment.open_segment(self.directory, number))
            except StoreUnusable as error:
                raise OSError(errno.EPROTO, str(error)) from error
        return self._segment

    def _next(self, tail: Tail, place: Place | None) -> tuple[Segment, Place]:
        numbers = segment.numbers(self.directory)
        if len(numbers) >= _SEGMENTS:
            raise OSError(errno.ENOSPC, "the log is full: its checkpoints lag behind")
        number = max([*numbers, 0 if place is None else place.number]) + 1
        created = segment.create(self.directory, number)
        self._change(created)
        begun = Place(number, BLOCK, 0.0)
        tail.put(begun)
        self.behind += 1
        return created, begun

    def _change(self, to: Segment | None) -> None:
        if self._segment is not None:
            self._segment.close()
        self._segment = to

    def _sync(self, written: Segment, offset: int) -> None:
        try:
            written.sync()
        except OSError:
            # Never again this one: the kernel may have dropped what it could not write. And nobody
            # shall find the batch, since all that is in it is refused.
            self._broken = written.number
            with contextlib.suppress(OSError):
                written.write(bytes(BLOCK), offset)
            raise

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
        return os.path.exists(f"{self.directory}/{_SICK}")

    def fall_sick(self) -> None:
        """Have all processes refuse to go on; the next first opener restores the files from the log."""
        with contextlib.suppress(FileExistsError):
            os.close(files.create(f"{self.directory}/{_SICK}"))

    def end(self) -> None:
        """Take the log away, when its segments are gone and no other process has the spool open."""
        self.close()
        for name in (_TAIL, _SICK):
            files.remove(f"{self.directory}/{name}")
        segment.remove_spare(self.directory)

    def close(self) -> None:
        """Close the files."""
        self._change(None)
        if self._tail is not None:
            self._tail.close()
            self._tail = None
