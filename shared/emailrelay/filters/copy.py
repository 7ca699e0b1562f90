"""The two files that a chain works on, and the message that they were copied from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.queue_id import QueueId


class FilterCopy(Protocol):
    """A private copy of one message, such as ``emailrelay.store.base.WorkCopy``; absolute paths."""

    @property
    def content_path(self) -> str:
        """The path of the content, as programs get it."""
        ...

    @property
    def envelope_path(self) -> str:
        """The path of the envelope, as programs get it."""
        ...

    @property
    def content(self) -> Path:
        """The path of the content."""
        ...

    @property
    def envelope(self) -> Path:
        """The path of the envelope."""
        ...


class LateCopy:
    """A copy of a small message that is made when a filter first needs a file of it.

    Until then filters read the message itself. Asking for a path raises what ``make`` raises.
    """

    def __init__(self, envelope: Envelope, content: bytes, make: Callable[[], FilterCopy]) -> None:
        """Take the message as it is, and the function that copies it."""
        self._message: tuple[Envelope, bytes] | None = (envelope, content)
        self._make = make
        self._made: FilterCopy | None = None

    @property
    def content_path(self) -> str:
        """See ``FilterCopy.content_path``."""
        return self._files().content_path

    @property
    def envelope_path(self) -> str:
        """See ``FilterCopy.envelope_path``."""
        return self._files().envelope_path

    @property
    def content(self) -> Path:
        """See ``FilterCopy.content``."""
        return self._files().content

    @property
    def envelope(self) -> Path:
        """See ``FilterCopy.envelope``."""
        return self._files().envelope

    @property
    def message(self) -> tuple[Envelope, bytes] | None:
        """Return envelope and content as long as there are no files."""
        return self._message

    def _files(self) -> FilterCopy:
        if self._made is None:
            self._made, self._message = self._make(), None
        return self._made


class FilteredMail(NamedTuple):
    """The facts about a message that its two files lack."""

    id: QueueId
    dsn: DsnRequest = NO_REQUEST


@dataclass(frozen=True, slots=True)
class Original:
    """The source of a copy. Without changes by a filter (``touched``) the copy need not be read."""

    envelope: Envelope
    size: int
    """Octets of content."""
    touched: Callable[[], bool]
