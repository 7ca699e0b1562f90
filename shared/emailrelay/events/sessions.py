"""The events of SMTP sessions."""

from enum import StrEnum
from typing import ClassVar

from emailrelay.events.event import Event, Level


class Direction(StrEnum):
    """The direction of a line, as the legacy log marks it."""

    RECEIVED = "rx<<"
    SENT = "tx>>"


class Dialogue(Event):
    """A command or reply of a session; reported only with ``verbose`` or ``debug``.

    ``line`` holds no secret and no message text: ``***`` replaces answers to challenges.
    """

    level: ClassVar[Level] = Level.DEBUG
    direction: Direction
    line: str
    port: int = 0
    peer: str
    """The other end: a client of the receiver (at ``port``), or a server of the forwarder."""


class TlsHandshake(Event):
    """A TLS handshake ended; as ``server`` with a client, or as ``client`` with the next server."""

    level: ClassVar[Level] = Level.DEBUG
    side: str
    result: str
    """``success`` or ``failure``; a failure has its reason in an event of its own."""
    peer: str
