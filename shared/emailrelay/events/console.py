"""The events of the console."""

from typing import ClassVar

from emailrelay.events.event import Event, Level
from emailrelay.queue_id import QueueId


class ConsoleLogin(Event):
    """A user signed in to the console. ``client`` is an IP address, or empty for a unix socket."""

    user: str
    role: str
    client: str


class ConsoleLoginFailed(Event):
    """A client failed to sign in to the console. It chose the text in ``user``."""

    level: ClassVar[Level] = Level.WARNING
    user: str
    client: str


class ConsoleAction(Event):
    """A user of the console changed a message."""

    id: QueueId
    action: str
    user: str


class ConsoleExamination(Event):
    """A user of the console ran the doctor on a route, or on all routes (empty name)."""

    route: str
    user: str
