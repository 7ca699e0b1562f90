"""The events of the next servers."""

from typing import ClassVar

from emailrelay.events.event import Event, Level


class SmarthostTrouble(Event):
    """The smarthost cannot be used now; mail waits."""

    level: ClassVar[Level] = Level.WARNING
    peer: str
    reason: str


class RateReached(Event):
    """A route reached its rate. Reported once, until a message may go out at once again."""

    route: str
    rate: str
    again: float
    """Time at which the next message may go out (seconds since 1970)."""


class SlowedDown(Event):
    """A server wants mail more slowly, or none for a while; reported at the first refusal only."""

    peer: str
    reason: str
    rate: str
    """The rate from now on, until the server's answers allow more."""
    again: float
    """Time at which the refused message is tried again (seconds since 1970)."""


class SmarthostBack(Event):
    """The smarthost can be used again; the mail that waited for it is due."""

    peer: str
