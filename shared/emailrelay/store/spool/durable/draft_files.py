"""The two files of a message being written: plain system calls for all writers.

No event loop and no thread, so that ``emailrelay-submit`` starts quickly.
"""

import os
import zlib
from collections.abc import Callable

from emailrelay import acceptance, envelope_format
from emailrelay.acceptance import Accepted
from emailrelay.envelope import Envelope
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import file_octets, files, locks, names
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.durable.records import Taken

_SMALL = 64 * 1024
"""Octets of a content that is kept for its record: fewer than a read of the file would cost."""


class DraftFiles:
    """Content and envelope in a directory that no watcher sees, in most cases with a lock.

    Every method raises OSError when the disk refuses; what is left then is removed by ``remove``.
    """

    def __init__(
        self,
        directory: Directory,
        next_id: Callable[[], QueueId],
        *,
        locked: bool = True,
        recorded: bool = False,
    ) -> None:
        """Create both files, the envelope first: a free lock on it means a dead writer.

        Not ``locked``: another file shows that the writer lives (``marks.live_writer``).
        ``recorded``: ``taken`` follows, for which a small content is kept.
        """
        self.directory = directory
        self.length = self.crc32 = 0
        self.sealed = b""
        self._lock: int | None = None
        self._kept: list[bytes] | None = [] if recorded else None
        """The content; None: it is not needed, or too large to keep."""
        while True:
            self.id = next_id()
            self.envelope_path = directory / names.draft_envelope(self.id)
            self.envelope = files.create(self.envelope_path)
            if not locked or self._has_lock():
                break
            os.close(self.envelope)  # a sweep took it for a dead process's file
        self.content_path = directory / names.content(self.id)
        try:
            self.content = files.create(self.content_path)
        except OSError:
            files.remove(self.envelope_path)
            os.close(self.envelope)
            self._unlock()
            raise
        self._written: tuple[int, ...] = (self.content, self.envelope)

    def _has_lock(self) -> bool:
        """Lock the envelope by a descriptor of its own, for reading: see ``show``."""
        try:
            self._lock = locks.lock_named(self.envelope_path, new=True)
        except OSError:
            files.remove(self.envelope_path)
            os.close(self.envelope)
            raise
        return self._lock is not None

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            locks.unlock_and_close(lock)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append to the content. The page cache takes it: no sync."""
        file_octets.write_all(self.content, chunk)
        self.crc32 = zlib.crc32(chunk, self.crc32)
        self.length += len(chunk)
        if self._kept is not None:
            if self.length <= _SMALL:
                self._kept.append(bytes(chunk))
            else:
                self._kept = None

    def seal(self, envelope: Envelope, accepted: Accepted) -> None:
        """Write the envelope; the line of acceptance makes the draft complete."""
        self.seal_with(envelope, acceptance.write(accepted))

    def seal_with(self, envelope: Envelope, lines: bytes) -> None:
        """Write the envelope with these lines of its journal; the first one is ``Accepted``."""
        self.seal_as(envelope_format.write(envelope) + lines)

    def seal_as(self, octets: bytes) -> None:
        """Write an envelope that has its journal."""
        self.sealed = octets
        file_octets.write_all(self.envelope, octets)

    def mark_not_vouched_for(self) -> None:
        """Mark the envelope as one that is not synced, before it can be seen."""
        os.fchmod(self.envelope, self.directory.file_mode() | files.NOT_VOUCHED_FOR)

    def sync(self) -> None:
        """Put files and names on stable storage, in this thread: this commits a sealed draft."""
        file_octets.sync_data(self.content)
        file_octets.sync_data(self.envelope)
        files.sync_directory(self.directory)

    def taken(self, stage: Stage) -> Taken:
        """Return the record of a sealed draft for the log.

        Raises:
            OSError: its content cannot be read.

        """
        kept, self._kept = self._kept, None
        if kept is None:
            content = file_octets.read_whole(self.content, self.length)
        else:
            content = b"".join(kept)
        return Taken(self.id, stage, self.sealed, content)

    def show(self, root: Directory, stage: Stage) -> None:
        """Make the message visible. No sync: recovery completes a committed draft.

        Written files are closed before, where no process watches: in the spool that would be an
        event for each watcher, and a hint is sent anyway.
        """
        self._close_written()
        files.rename(self.content_path, root / self.content_path.name)
        # S0 -> S1 or S2: the message becomes visible here, and only here.
        files.rename(self.envelope_path, root / names.envelope(self.id, stage))

    def remove(self) -> None:
        """Remove both. The content first: a content alone could not be explained."""
        try:
            files.remove(self.content_path)
        finally:
            files.remove(self.envelope_path)

    def close(self) -> None:
        """Close both and give up the lock."""
        try:
            if self._written:
                self._close_written()
        finally:
            if self._lock is not None:
                self._unlock()

    def hand_over_lock(self) -> int:
        """Return the locked descriptor, for a claim on what is visible now."""
        lock, self._lock = self._lock, None
        if lock is None:
            raise RuntimeError("the draft has no lock")
        return lock

    def _close_written(self) -> None:
        written, self._written = self._written, ()
        for descriptor in written:
            os.close(descriptor)
