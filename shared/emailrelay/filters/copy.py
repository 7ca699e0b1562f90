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
