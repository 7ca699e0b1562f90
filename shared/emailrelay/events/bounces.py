"""The events of notices about failed mail."""

from typing import ClassVar

from emailrelay.events.event import Event, Level
from emailrelay.queue_id import QueueId


class Bounced(Event):
    """A notice of failure is on its way: ``to`` are its recipients, ``notice`` is its id."""

    id: QueueId
    """The failed message; several may share a notice."""
    notice: QueueId
    to: tuple[str, ...]


class NotBounced(Event):
    """There is no notice about a failed message; it stays in the store."""

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    reason: str


class BouncesHeldBack(Event):
    """One address got `notices` notices within an hour; further failures share one notice."""

    level: ClassVar[Level] = Level.WARNING
    to: tuple[str, ...]
    notices: int
    again: float
    """The time of the shared notice, in seconds since 1970."""


class FailedRemoved(Event):
    """A failed message was removed after its time in the store.

    Its sender was notified, or wanted no notice.
    """

    id: QueueId
