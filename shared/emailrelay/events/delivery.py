"""The events of deliveries."""

from typing import ClassVar

from emailrelay.events.event import Level
from emailrelay.events.mail_event import MailEvent
from emailrelay.queue_id import QueueId


class Delivered(MailEvent):
    """The next server accepted the message for these recipients."""

    batched: ClassVar[bool] = True
    id: QueueId
    peer: str
    reply: str
    seconds: float
    route: str = ""
    """Here and below: the route's name; of several routes, the names with commas between."""
    in_queue: float = 0.0
    """Seconds from the arrival of the message to this delivery."""


class Withdrawn(MailEvent):
    """The client that waited for this delivery is gone: the relay does not deliver the message."""

    id: QueueId


class Deferred(MailEvent):
    """The message waits because of ``reason``; ``next_attempt`` is in seconds since 1970."""

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    reason: str
    next_attempt: float | None
    route: str = ""
    code: int = 0
    """Here and below: the code of the reply in ``reason``; 0: it has none."""


class DeliveryRefused(MailEvent):
    """The client that waits for this delivery gets a refusal; the message is not kept.

    ``reason`` has the cause also where the client's reply does not tell it.
    """

    id: QueueId
    peer: str
    reply: str
    reason: str
    route: str = ""
    code: int = 0


class RecipientsRefused(MailEvent):
    """The next server or a filter refused these recipients for good, while others wait.

    ``reply`` is that for the first one. The sender is told when the message ends.
    """

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    peer: str
    reply: str


class Failed(MailEvent):
    """The relay gave up; the message stays as failed, for the operator and for notification."""

    level: ClassVar[Level] = Level.ERROR
    id: QueueId
    reason: str
    route: str = ""
    code: int = 0
