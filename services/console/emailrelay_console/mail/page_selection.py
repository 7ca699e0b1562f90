"""The messages that a page of the queue shows: conditions that a message must meet together."""

from collections.abc import Collection
from dataclasses import dataclass

from emailrelay.envelope import Address
from emailrelay.queue.pattern import fits_address, fits_reply
from emailrelay.queue.row import QueueRow, row
from emailrelay.queue.selection import RoutesOf
from emailrelay.queue.state import State
from emailrelay.store.queue_view import QueueEntry

_WILD = frozenset("*?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSelection:
    """No condition: every message. ``*`` and ``?`` are wildcards; ``<>`` is the null sender."""

    states: frozenset[State] = frozenset()
    address: str = ""
    """A part of the sender, or of a recipient."""
    sender: str = ""
    recipient: str = ""
    reply: str = ""
    """A part of the last reply, or of the text of its group."""
    route: str = ""
    """The name of a route that a pending recipient would take now."""
    older: float | None = None
    """Seconds since arrival, at least."""
    newer: float | None = None
    """Seconds since arrival, at most."""
    until: float | None = None
    """Only messages that arrived then or before (seconds since 1970)."""

    @property
    def empty(self) -> bool:
        """True if there is no condition."""
        return self == PageSelection()

    def fits(self, entry: QueueEntry, now: float, routes_of: RoutesOf) -> bool:
        """Tell if a message meets all conditions; one that cannot be read meets few."""
        shown = row(entry, now)
        age = now - shown.arrived
        return (
            (not self.states or shown.state in self.states)
            and (self.older is None or age >= self.older)
            and (self.newer is None or age <= self.newer)
            and (self.until is None or shown.arrived <= self.until)
            and (not self.reply or fits_reply(self.reply, shown.last_reply))
            and self._by_envelope(entry, shown, routes_of)
        )

    def _by_envelope(self, entry: QueueEntry, shown: QueueRow, routes_of: RoutesOf) -> bool:
        if not (self.address or self.sender or self.recipient or self.route):
            return True
        envelope = entry.envelope
        if envelope is None:
            return False
        return (
            _fits_any(self.address, (envelope.sender, *envelope.recipients))
            and _fits_any(self.sender, (envelope.sender,))
            and _fits_any(self.recipient, envelope.recipients)
            and (not self.route or self.route in routes_of(envelope, shown.pending))
        )


def whole_pattern(pattern: str) -> str:
    """Return the pattern for whole addresses: a text without wildcards is a part of an address."""
    if pattern == "<>" or _WILD.intersection(pattern):
        return pattern
    return f"*{pattern}*"


def _fits_any(pattern: str, addresses: Collection[Address]) -> bool:
    return not pattern or any(fits_address(whole_pattern(pattern), each) for each in addresses)
