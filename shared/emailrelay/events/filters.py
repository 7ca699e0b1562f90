"""The events of filters."""

from typing import ClassVar

from emailrelay.events.event import Event, Level
from emailrelay.events.mail_event import MailEvent
from emailrelay.queue_id import QueueId


class FilterVerdict(Event):
    """A filter chain gave its verdict; ``filter`` is the filter that decided.

    ``verdict`` is ``accept``, ``abandon``, ``reject``, ``skip`` or ``trouble``.
    """

    level: ClassVar[Level] = Level.DEBUG
    id: QueueId
    filter: str
    verdict: str


class Passed(MailEvent):
    """The filter chain accepted a message."""

    batched: ClassVar[bool] = True
    id: QueueId
    seconds: float


class FilterHeld(MailEvent):
    """A filter asked for quarantine; the message is held until an operator releases it.

    ``reason`` begins with the filter.
    """

    id: QueueId
    reason: str


class Abandoned(MailEvent):
    """The message ends at a filter, which dropped it or delivered it to mailboxes (``deliver:``).

    ``end`` says which: ``dropped`` or ``delivered``.
    """

    id: QueueId
    filter: str
    end: str


class FilterRejected(MailEvent):
    """The waiting client gets a filter's rejection; the message is not kept."""

    id: QueueId
    filter: str
    reply: str
    reason: str


class FilterTrouble(MailEvent):
    """A filter failed; its mail waits and is tried again."""

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    filter: str
    reason: str


class NoFilter(Event):
    """Mail waits for a filter, but filterd has none; ``--filter exit:0`` lets it pass."""

    level: ClassVar[Level] = Level.WARNING
    waiting: int


class FilterUnstartable(Event):
    """A filter program is missing or cannot be run; mail waits until it can."""

    level: ClassVar[Level] = Level.WARNING
    filter: str
    reason: str


class StillUnfiltered(Event):
    """A single pass skipped this mail: it waits for its filters, which filterd runs."""

    level: ClassVar[Level] = Level.WARNING
    messages: int
