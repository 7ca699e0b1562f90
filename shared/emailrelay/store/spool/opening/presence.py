"""Who has a spool open, so that its first opener knows itself to be the first, and the last one the last.

All who have it open share a lock on the log's directory. Who can have that lock alone is the first: nobody
has claimed anything, and the log, if one was left, tells what the files may lack. The last one makes a
checkpoint and takes the log away, so that nothing is replayed after a clean end.
"""

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress

from emailrelay.errors import RelayError
from emailrelay.store.spool.disk import files, locks, names
from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.durable import segment
from emailrelay.store.spool.durable.checkpoint import Checkpoints
from emailrelay.store.spool.durable.segment import Segment
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.opening import replay


class Presence:
    """Our place among the processes that have the spool open."""

    def __init__(self, spool: Spool) -> None:
        """Nothing happens before ``come``."""
        self._spool = spool
        self._directory = -1
        self._whole: FileSystem | None = None
        self._checkpoints: Checkpoints | None = None
        self._one = threading.Lock()

    def come(self) -> None:
        """Come in; as the first, restore what the log tells. Blocks; for a thread.

        Raises:
            OSError: the disk refuses.
            StoreUnusable: the log is another version's.

        """
        spool = self._spool
        self._directory = files.reopened(spool.directories.log)
        if locks.try_lock(self._directory):
            _restore(spool)
        # Not in one step, so another may become the first in between: it finds nothing to do.
        locks.share_lock(self._directory)
        self._whole = FileSystem(spool.root.path)
        spool.syncer.lies_on(self._whole)
        self._checkpoints = Checkpoints(spool.root.path, spool.log)
        spool.syncer.checkpoint = self._checkpoint
        spool.syncer.come_again = self.come_again

    def come_again(self) -> None:
        """Come in anew if the log's directory, or all of the spool, was removed or replaced. Blocks.

        What was acknowledged before stands in files that may not be on stable storage, and now there is
        no log that tells of them: all of the file system is synced.

        Raises:
            OSError: the disk refuses.

        """
        spool = self._spool
        path = spool.root / names.LOG
        with self._one:
            spool.directories.log.renew_all()
            if locks.is_named(self._directory, path) and spool.log.is_current():
                return
            self._sync_what_was_acknowledged()
            spool.make_directories()
            self._open_again()
            self._lock_again()
            spool.log.leave()
            spool.log.begin_again()
        spool.trouble("write the log", f"{path} was removed or replaced, and is begun anew")

    def _sync_what_was_acknowledged(self) -> None:
        try:
            if self._whole is not None:
                self._whole.sync()
        except OSError as error:
            self._spool.trouble("sync what was accepted before the log was removed", error)

    def _open_again(self) -> None:
        """Have what is synced from now on be the file system that the spool is on by now."""
        for each in (self._whole, self._checkpoints):
            if each is not None:
                each.open_again(self._spool.root.path)

    def _lock_again(self) -> None:
        """Be among those who have the spool open, for whoever comes from now on."""
        directory = files.reopened(self._spool.directories.log)
        try:
            locks.share_lock(directory)
            os.dup2(directory, self._directory, inheritable=False)
        finally:
            os.close(directory)

    def _checkpoint(self) -> bool:
        try:
            self.come_again()
            return self._checkpoints is not None and self._checkpoints.make()
        except (OSError, RelayError) as error:
            self._spool.trouble("make a checkpoint of the log", error)
            return True

    def leave(self) -> None:
        """Go; the last one takes the log away. Blocks; for a thread."""
        spool = self._spool
        try:
            # Whoever has a directory that was replaced would find itself the last in any case.
            spool.directories.log.renew_all()
            named = locks.is_named(self._directory, spool.root / names.LOG)
            if named and spool.log.in_use():
                locks.unlock(self._directory)
                if locks.try_lock(self._directory):
                    _end(spool)
        except (OSError, RelayError) as error:  # the next first opener does it
            spool.trouble("end the log", error)
        finally:
            self.close()

    def close(self) -> None:
        """Go, and leave all as it is."""
        self._spool.log.close()
        if self._whole is not None:
            self._whole.close()
        if self._checkpoints is not None:
            self._checkpoints.close()
        if self._directory >= 0:
            os.close(self._directory)


def _restore(spool: Spool) -> None:
    """Replay the log that is there, and take it away; nobody else has the spool open."""
    with ExitStack() as opened:
        segments = _open_all(spool, opened)
        for message, fate in replay.fates(segments).items():
            replay.apply(spool, message, fate)
        _take_away(spool, segments)


def _end(spool: Spool) -> None:
    if spool.log.has_failed():
        return  # only a replay can mend that
    with ExitStack() as opened:
        _take_away(spool, _open_all(spool, opened))


def _open_all(spool: Spool, opened: ExitStack) -> list[Segment]:
    segments: list[Segment] = []
    for number in segment.numbers(spool.log.directory):
        found = segment.open_segment(spool.log.directory, number)
        if found is not None:
            opened.callback(found.close)
            segments.append(found)
    return segments


def _take_away(spool: Spool, segments: Sequence[Segment]) -> None:
    if segments:
        with closing(FileSystem(spool.root.path)) as whole:
            whole.sync()
    for number in segment.numbers(spool.log.directory):
        with suppress(FileNotFoundError):
            segment.remove(spool.log.directory, number)
    spool.log.end()
