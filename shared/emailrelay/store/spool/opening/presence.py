"""The processes that have a spool open: the first opener replays the log, the last one removes it.

All of them share a lock on the log's directory. A process that can have this lock exclusively is
the first: no message is claimed, and a log that was left may tell more than the files. The last one
makes a checkpoint and removes the log, so that nothing is replayed after a clean end.

Processes enter one after another, with a lock on another directory. So each process that shares the
lock has a log that was replayed to its end: if the first opener fails, the next one replays.
"""

import errno
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress

from emailrelay.errors import RelayError
from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk import files, locks, names
from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.durable import segment
from emailrelay.store.spool.durable.checkpoint import Checkpoints
from emailrelay.store.spool.durable.segment import Segment
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.opening import replay

_TELL = 3.0
"""Seconds of waiting for the lock until that is reported."""
_TELL_AGAIN = 60.0
"""Seconds between two further reports."""
_LONGEST, _LONGEST_OF_REPLAY = 60.0, 600.0
"""Seconds of waiting at most; the second while there is a log that may be replayed: it may be long,
and the disk slow."""
_REASON = (
    "another process replays the log, or a program that is not part of the relay has the lock"
    " (lslocks and fuser -v show it)"
)
_MOMENT = 0.02
"""Seconds between two tries."""


class Presence:
    """One process among those that have the spool open."""

    def __init__(self, spool: Spool) -> None:
        """Nothing happens before ``enter``."""
        self._spool = spool
        self._directory = -1
        self._whole: FileSystem | None = None
        self._checkpoints: Checkpoints | None = None
        self._one = threading.Lock()

    def enter(self) -> None:
        """Share the lock; the first process replays the log. Blocks; for a thread.

        Raises:
            OSError: the disk refuses.
            StoreUnusable: the log is another version's.

        """
        spool = self._spool
        self._directory = files.reopened(spool.directories.log)
        # Opened first: the kernel tells each open file once of what was lost.
        self._checkpoints = Checkpoints(spool.root.path, spool.log)
        self._take_part(self._directory, self._checkpoints)
        self._whole = FileSystem(spool.root.path)
        spool.syncer.lies_on(self._whole)
        spool.syncer.checkpoint = self._checkpoint
        spool.syncer.begin_again = self.enter_again

    def enter_again(self) -> None:
        """Enter again if the log's directory, or the whole spool, was removed or replaced. Blocks.

        Mail that was acknowledged before is in files that may not be on stable storage, and no log
        has it any more: so the whole file system is synced.

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
        spool.trouble("write the log", f"{path} was removed or replaced, and is begun again")

    def _sync_what_was_acknowledged(self) -> None:
        try:
            if self._whole is not None:
                self._whole.sync()
        except OSError as error:
            self._spool.trouble("sync what was accepted before the log was removed", error)

    def _open_again(self) -> None:
        """Sync the file system that the spool is on now."""
        for each in (self._whole, self._checkpoints):
            if each is not None:
                each.open_again(self._spool.root.path)

    def _lock_again(self) -> None:
        """Share the lock that later processes look at."""
        directory = files.reopened(self._spool.directories.log)
        try:
            self._share(directory)
            os.dup2(directory, self._directory, inheritable=False)
        finally:
            os.close(directory)

    def _take_part(self, directory: int, checkpoints: Checkpoints) -> None:
        """Share the lock of the log's open directory; replay the log if no other process shares it.

        Raises:
            OSError: the disk refuses, or another program keeps a lock.
            StoreUnusable: the log is another version's.

        """
        entering = files.reopened(self._spool.directories.doubt)
        try:
            tries = self._tries()
            while not locks.try_lock(entering):
                next(tries)
            while True:
                # Shared first: then only a process that shares it, too, keeps it from becoming
                # exclusive. That process has entered, so the log was replayed. A share is lost if
                # it cannot become exclusive.
                if locks.share_lock(directory):
                    if locks.try_lock(directory):
                        _restore(self._spool, checkpoints)
                    if locks.share_lock(directory):
                        return
                next(tries)
        finally:
            locks.unlock_and_close(entering)

    def _share(self, directory: int) -> None:
        """Share the lock of the log's open directory.

        Raises:
            OSError: another program keeps it; the text says what to do.

        """
        tries = self._tries()
        while not locks.share_lock(directory):
            next(tries)

    def _tries(self) -> Iterator[None]:
        """Yield after a moment, again and again; report a long wait.

        Raises:
            OSError: it has been too long; the text says what to do.

        """
        path = self._spool.root / names.LOG
        begun, tell = time.monotonic(), _TELL
        while True:
            time.sleep(_MOMENT)
            yield
            waited = time.monotonic() - begun
            if waited >= _LONGEST:
                replays = segment.numbers(self._spool.log.directory)
                if not replays or waited >= _LONGEST_OF_REPLAY:
                    raise OSError(errno.EAGAIN, _REASON, str(path))
            if waited >= tell:
                tell = waited + _TELL_AGAIN
                self._spool.trouble(f"share the lock of {path}", _REASON)

    def _checkpoint(self) -> bool:
        try:
            self.enter_again()
            return self._checkpoints is not None and self._checkpoints.make()
        except (OSError, RelayError) as error:
            self._spool.trouble("make a checkpoint of the log", error)
            return True

    def leave(self) -> None:
        """End the share of the lock; the last process removes the log. Blocks; for a thread."""
        spool = self._spool
        try:
            # A process with a replaced directory would always take itself for the last one.
            spool.directories.log.renew_all()
            named = locks.is_named(self._directory, spool.root / names.LOG)
            if named and spool.log.in_use() and self._checkpoints is not None:
                locks.unlock(self._directory)
                if locks.try_lock(self._directory):
                    _end(spool, self._checkpoints)
        except (OSError, RelayError) as error:  # the next first opener does it
            spool.trouble("end the log", error)
        finally:
            self.close()

    def close(self) -> None:
        """End the share of the lock, and change nothing."""
        self._spool.log.close()
        if self._whole is not None:
            self._whole.close()
        if self._checkpoints is not None:
            self._checkpoints.close()
        if self._directory >= 0:
            os.close(self._directory)


def _restore(spool: Spool, checkpoints: Checkpoints) -> None:
    """Replay a log that was left, and remove it; no other process has the spool open."""
    with ExitStack() as opened:
        segments = segment.open_all(spool.log.directory, opened)
        if segments:
            segment.remove_spare(spool.log.directory)  # its room may be needed
            try:
                checkpoints.sync_before_replay()
            except OSError as error:
                spool.trouble("sync what was accepted before the log is replayed", error)
        last = replay.last_states(segments).items()
        failed = [_applied(spool, message, state) for message, state in last]
        for first in filter(None, failed):
            raise first
        _remove(spool, checkpoints, segments)


def _applied(spool: Spool, message: QueueId, state: replay.LastState) -> OSError | None:
    """Restore one message; report and return the error, so that each bad one is named at once."""
    try:
        replay.apply(spool, message, state)
    except OSError as error:
        spool.trouble(f"restore {message} from the log", error)
        return error
    return None


def _end(spool: Spool, checkpoints: Checkpoints) -> None:
    if spool.log.has_failed():
        return  # only a replay can mend that
    with ExitStack() as opened:
        _remove(spool, checkpoints, segment.open_all(spool.log.directory, opened))


def _remove(spool: Spool, checkpoints: Checkpoints, segments: Sequence[Segment]) -> None:
    if segments:
        checkpoints.sync()
    for number in segment.numbers(spool.log.directory):
        with suppress(FileNotFoundError):
            segment.remove(spool.log.directory, number)
    spool.log.end()
