"""The two files that a chain works on, and the message that they were copied from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from emailrelay import envelope_format
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId


class FilterCopy(Protocol):
    """A private copy of one message, such as ``emailrelay.store.claim.WorkCopy``.

    Its paths are absolute.
    """

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

    Until then filters read and change the message in memory. Asking for a path raises StoreError if
    there is no room.
    """

    def __init__(self, envelope: Envelope, content: bytes, make: Callable[[], FilterCopy]) -> None:
        """Take the message as it is, and the function that copies it."""
        self._message: tuple[Envelope, bytes] | None = (envelope, content)
        self._changed = False
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

    @property
    def changed(self) -> tuple[Envelope, bytes] | None:
        """Return the changed message, if there are no files that have the changes."""
        return self._message if self._changed else None

    def change(self, envelope: Envelope, content: bytes) -> None:
        """Replace the message, of which there are no files."""
        self._message, self._changed = (envelope, content), True

    def _files(self) -> FilterCopy:
        if self._made is None:
            made, changed = self._make(), self.changed
            if changed is not None:
                _overwrite(made, *changed)
            self._made, self._message = made, None
        return self._made


def _overwrite(copy: FilterCopy, envelope: Envelope, content: bytes) -> None:
    """Write a changed message into a fresh copy, which no other program knows yet."""
    try:
        copy.content.write_bytes(content)
        tail = envelope_format.parse(copy.envelope.read_bytes()).tail
        copy.envelope.write_bytes(envelope_format.write(envelope) + tail)
    except OSError as error:
        raise StoreError(f"write {copy.content.parent}", error) from error


class FilteredMail(NamedTuple):
    """The facts about a message that its two files lack."""

    id: QueueId
    host: str
    """The name of this host."""
    dsn: DsnRequest = NO_REQUEST


@dataclass(frozen=True, slots=True)
class Original:
    """The source of a copy. Without changes by a filter (``touched``) the copy need not be read."""

    envelope: Envelope
    size: int
    """Octets of content."""
    touched: Callable[[], bool]
