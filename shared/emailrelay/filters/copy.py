"""The two files that a chain works on."""

from pathlib import Path
from typing import Protocol


class Copy(Protocol):
    """A private copy of one message, such as ``emailrelay.store.base.WorkCopy``; absolute paths."""

    @property
    def content(self) -> Path:
        """Where the content stands."""
        ...

    @property
    def envelope(self) -> Path:
        """Where the envelope stands."""
        ...
