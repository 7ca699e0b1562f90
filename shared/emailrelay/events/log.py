"""The events of the log itself."""

from typing import ClassVar

from emailrelay.events.event import Event, Level


class LeftOut(Event):
    """The number of lines left out in a short time because they repeated an earlier line."""

    level: ClassVar[Level] = Level.WARNING
    kind: str
    reason: str
    lines: int


class LinesDropped(Event):
    """The log could not be written for a while (reader blocked, disk full); mail went on."""

    level: ClassVar[Level] = Level.WARNING
    lines: int


class LibraryTrouble(Event):
    """A library wrote a warning to Python's logging."""

    level: ClassVar[Level] = Level.WARNING
    library: str
    text: str
