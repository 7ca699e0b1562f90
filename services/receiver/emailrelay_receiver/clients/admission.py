"""Limits on connected clients, overall and from each source, and the choice of one to disconnect.

Guarantee: a client that has logged in, or is sending a message, is never disconnected for another
before the end of its session.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from emailrelay.reply import Reply

_LEAST_IDLE = 5.0
"""Seconds without use after which a client can be disconnected for another."""
_RESERVED = 10
"""One in so many places is reserved for local clients and for sources that have logged in."""

TOO_MANY = Reply(421, "4.7.0 too many connections, try again later")


class AdmittedClient(Protocol):
    """A connected client, as far as its place is concerned."""

    def idle_since(self) -> float | None:
        """Return the time of its latest use; None: it must not be disconnected."""
        ...

    def make_room(self) -> None:
        """End the session now, for the sake of another."""
        ...


@dataclass(slots=True)
class Admission:
    """The connections of one process. Each client that enters also leaves, once."""

    most: int
    most_of_one: int
    _sources: dict[AdmittedClient, str] = field(default_factory=dict[AdmittedClient, str])
    _guests: dict[str, dict[AdmittedClient, None]] = field(
        default_factory=dict[str, dict[AdmittedClient, None]]
    )

    @property
    def total(self) -> int:
        """The number of connected clients."""
        return len(self._sources)

    def enter(
        self, guest: AdmittedClient, source: str, *, now: float, favoured: bool
    ) -> Reply | None:
        """Take a place for a client, or return why it gets none.

        Without a free place, the client that has been idle for the longest time is disconnected:
        one of the same source, or of the source with most clients. ``favoured``: this client can
        have reserved places.
        """
        of_same = self._guests.get(source, {})
        if len(of_same) >= self.most_of_one and not self._dismiss(of_same, now):
            return TOO_MANY
        places = self.most if favoured else self.most - self.most // _RESERVED
        if self.total >= places and not self._dismiss_any(now):
            return TOO_MANY
        self._sources[guest] = source
        self._guests.setdefault(source, {})[guest] = None
        return None

    def leave(self, guest: AdmittedClient) -> None:
        """Free the place, unless another client has it already."""
        source = self._sources.pop(guest, None)
        if source is None:
            return
        of_same = self._guests[source]
        del of_same[guest]
        if not of_same:
            del self._guests[source]

    def _dismiss_any(self, now: float) -> bool:
        # The source with most places loses one first; the others only if it has no idle client.
        empty = dict[AdmittedClient, None]()
        largest = max(self._guests.values(), key=len, default=empty)
        return self._dismiss(largest, now) or self._dismiss(self._sources, now)

    def _dismiss(self, guests: Iterable[AdmittedClient], now: float) -> bool:
        """Disconnect the idlest of these; False: none of them is idle."""
        since = {guest: guest.idle_since() for guest in guests}
        idle = {guest: at for guest, at in since.items() if at is not None}
        if not idle or now - min(idle.values()) < _LEAST_IDLE:
            return False
        idlest = min(idle, key=idle.__getitem__)
        self.leave(idlest)
        idlest.make_room()
        return True
