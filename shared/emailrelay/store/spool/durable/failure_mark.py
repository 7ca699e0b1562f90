"""The mark in a log's directory that a checkpoint has failed."""

import contextlib
import os

from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.durable import segment

_NAME = "sick"


class FailureMark:
    """A file that all processes look for. This process knows of its own failure without it."""

    def __init__(self, directory: Directory) -> None:
        """Look for nothing yet."""
        self._directory, self._at = directory, directory / _NAME
        self._failed = False

    def is_set(self) -> bool:
        """Tell if a checkpoint has failed; try again to make a file that could not be made."""
        if self._failed:
            self._make()
        return self._failed or files.is_there(self._at)

    def set(self) -> None:
        """Note a failure. Raises nothing."""
        self._failed = True
        self._make()

    def _make(self) -> None:
        if files.is_there(self._at):
            return
        try:
            os.close(files.create(self._at))
        except FileExistsError:
            return
        except OSError:
            # No room, or no descriptor: the file that is kept for a next segment needs neither.
            with contextlib.suppress(OSError):
                segment.use_spare(self._directory, self._at)

    def forget(self) -> None:
        """Forget a failure, since the log is another one now."""
        self._failed = False

    def remove(self) -> None:
        """Remove the mark."""
        self._failed = False
        files.remove(self._at)
