"""The events of the store."""

from typing import ClassVar

from emailrelay.events.event import Event, Level
from emailrelay.events.mail_event import MailEvent
from emailrelay.queue_id import QueueId


class SetAside(MailEvent):
    """A damaged entry of the store was set aside; reported once, with the reason."""

    level: ClassVar[Level] = Level.ERROR
    id: QueueId
    reason: str


class Recovered(Event):
    """Unfinished work of a dead process was completed or undone; ``what`` says which."""

    id: QueueId
    what: str


class PossibleDuplicate(MailEvent):
    """``peer`` may get a second copy of this message.

    Its answer to the final dot was lost, or the client that waited for the answer had given up.
    """

    level: ClassVar[Level] = Level.WARNING
    id: QueueId
    peer: str


class TakenIn(MailEvent):
    """The relay took over a message that a filter or another program put into the store."""

    id: QueueId


class HandedOver(Event):
    """Mail that was stored on this host while the store was unavailable is in the store now."""

    messages: int


class StoreTrouble(Event):
    """An operation of the store failed and will be tried again; no mail is lost."""

    level: ClassVar[Level] = Level.ERROR
    doing: str
    reason: str


class WatchTrouble(Event):
    """The directory cannot be watched: polling finds new mail, but later."""

    level: ClassVar[Level] = Level.WARNING
    reason: str
