"""Syncs the file system of a spool as a whole, which costs less than many files one by one.

A journal that is written once makes all files of a batch durable; synced one by one, even side by
side, each is waited for at the turns of the disk. The whole includes what others have written
there, so when that takes long, files are synced one by one again for a while.
"""

import os
import time
from collections.abc import Collection, Sequence

from emailrelay import linux

_PATIENCE = 0.25
"""Seconds that a sync of all may take; a longer one counts as the effect of other programs."""
_PAUSE = 20
"""After a longer one, files are synced one by one for this many times as long."""


class FileSystem:
    """The file system of a directory, kept open so that no error of its disk is missed."""

    def __init__(self, path: str) -> None:
        """Open it.

        Raises:
            OSError: it cannot be opened.

        """
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._device = os.fstat(self._descriptor).st_dev
        self._again = 0.0
        self._reports = linux.sync_reports_errors()

    def open_again(self, path: str) -> None:
        """Use the file system of ``path`` from now on.

        Raises:
            OSError: it cannot be opened.

        """
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._device = os.fstat(descriptor).st_dev
            # In one step: another thread may be in the middle of a sync.
            os.dup2(descriptor, self._descriptor, inheritable=False)
        finally:
            os.close(descriptor)

    def serves(self, open_files: Sequence[int], devices: Collection[int] = ()) -> bool:
        """Tell if a sync of all makes files durable, reports errors, and saves time.

        ``devices`` are those of further files, which are known without a call.
        The directory may have been replaced by one elsewhere since it was opened.
        """
        if not self._reports or time.monotonic() < self._again:
            return False
        if any(each != self._device for each in devices):
            return False
        try:
            return all(os.fstat(each).st_dev == self._device for each in open_files)
        except OSError:  # the sync of each file shows which one
            return False

    def sync(self) -> None:
        """Put everything on stable storage that has not been written yet. Blocks.

        After an error files are synced one by one: what was lost may be another batch's whose data
        was written along, and only the sync of its own files still reports that.

        Raises:
            OSError: the disk refused something since the last time, or since this was opened.

        """
        begun = time.monotonic()
        try:
            linux.sync_file_system(self._descriptor)
        except OSError:
            self._reports = False
            raise
        ended = time.monotonic()
        if (took := ended - begun) > _PATIENCE:
            self._again = ended + _PAUSE * took

    def close(self) -> None:
        """Close the directory."""
        os.close(self._descriptor)
