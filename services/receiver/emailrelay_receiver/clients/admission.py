"""Limits on connected clients, overall and from each source, and the choice of one to disconnect.

Guarantee: a client that has logged in, or is sending a message, is never sent away for another.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from emailrelay.reply import Reply

_LEAST_IDLE = 5.0
"""Seconds without use after which a client may be sent away for another."""
_KEPT = 10
"""One of so many places is kept for clients of this machine and of sources that have logged in."""

TOO_MANY = Reply(421, "4.7.0 too many connections, try again later")


class AdmittedClient(Protocol):
    """A connected client, as far as its place is concerned."""

    def idle_since(self) -> float | None:
        """Give the time since when its place has been of no use; None: it must not be sent away."""
        ...

    def make_room(self) -> None:
        """End the session now, for the sake of another."""
        ...


@dataclass(slots=True)
class Admission:
    """The connections of one process. Each guest that enters leaves once, also if it was sent away."""

    most: int
    most_of_one: int
    _sources: dict[AdmittedClient, str] = field(default_factory=dict[AdmittedClient, str])
    _guests: dict[str, dict[AdmittedClient, None]] = field(
        default_factory=dict[str, dict[AdmittedClient, None]]
    )

    @property
    def total(self) -> int:
        """Tell how many are in."""
        return len(self._sources)

    def enter(
        self, guest: AdmittedClient, source: str, *, now: float, favoured: bool
    ) -> Reply | None:
        """Let a client in, or say why not; its place is taken at once.

        If there is no place, the client goes whose place has been of no use for the longest time: one
        of the same source, or of the source with most clients. ``favoured``: also the places that are
        kept back are for this one.
        """
        of_same = self._guests.get(source, {})
        if len(of_same) >= self.most_of_one and not self._dismiss(of_same, now):
            return TOO_MANY
        places = self.most if favoured else self.most - self.most // _KEPT
        if self.total >= places and not self._dismiss_any(now):
            return TOO_MANY
        self._sources[guest] = source
        self._guests.setdefault(source, {})[guest] = None
        return None

    def leave(self, guest: AdmittedClient) -> None:
        """Give the place back, unless it was given to another already."""
        source = self._sources.pop(guest, None)
        if source is None:
            return
        of_same = self._guests[source]
        del of_same[guest]
        if not of_same:
            del self._guests[source]

    def _dismiss_any(self, now: float) -> bool:
        # Whoever takes many places pays for it first; the others pay only if that is of no use.
        empty = dict[AdmittedClient, None]()
        largest = max(self._guests.values(), key=len, default=empty)
        return self._dismiss(largest, now) or self._dismiss(self._sources, now)

    def _dismiss(self, guests: Iterable[AdmittedClient], now: float) -> bool:
        """Send the idlest of these away; False: none of them is idle."""
        since = {guest: guest.idle_since() for guest in guests}
        idle = {guest: at for guest, at in since.items() if at is not None}
        if not idle or now - min(idle.values()) < _LEAST_IDLE:
            return False
        idlest = min(idle, key=idle.__getitem__)
        self.leave(idlest)
        idlest.make_room()
        return True
