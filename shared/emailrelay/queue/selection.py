"""Selects messages by id, state, age, address, reply and route."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TypeAlias

from emailrelay.envelope import Address, Envelope
from emailrelay.history_query import HistoryQuery
from emailrelay.journal import History
from emailrelay.queue.pattern import fits_address, fits_reply
from emailrelay.queue.row import last_reply
from emailrelay.queue.state import State, state_of
from emailrelay.queue_id import QueueId
from emailrelay.store.queue_view import Listed, QueueEntry, arrived

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhdw])")
_ID = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_FILE = re.compile(r"(?:.*/)?emailrelay\.(.+?)\.(?:content|envelope(?:\.[a-z]+)?)")
RoutesOf: TypeAlias = Callable[[Envelope, Collection[Address]], Collection[str]]
"""Gives the names of the routes that recipients of a message would take now."""


def no_routes(_envelope: Envelope, _pending: Collection[Address]) -> frozenset[str]:
    """Return no route: for selections without one."""
    return frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Conditions that a message must meet together; an empty selection means every message."""

    ids: frozenset[QueueId] = frozenset()
    states: frozenset[State] = frozenset()
    older: float | None = None
    """Seconds since arrival, at least."""
    newer: float | None = None
    """Seconds since arrival, at most."""
    sender: str | None = None
    """A pattern with ``*`` and ``?``; ``<>`` is the null sender."""
    recipient: str | None = None
    reply: str | None = None
    """A part of the last reply, or of the text of its group."""
    route: str | None = None
    """The name of a route that a pending recipient would take now."""
    routes_of: RoutesOf = no_routes

    @property
    def empty(self) -> bool:
        """True if there is no condition."""
        return replace(self, routes_of=no_routes) == Selection()

    @property
    def names_suffice(self) -> bool:
        """True if no envelope needs to be read."""
        return self.sender is self.recipient is self.reply is self.route is None

    def fits_listed(self, listed: Listed, now: float) -> bool:
        """Tell whether a listing entry meets the conditions on id, state and age."""
        age = now - arrived(listed)
        return (
            (not self.ids or listed.id in self.ids)
            and (not self.states or state_of(listed.stage, listed.since, now) in self.states)
            and (self.older is None or age >= self.older)
            and (self.newer is None or age <= self.newer)
        )

    def fits_entry(self, entry: QueueEntry) -> bool | None:
        """Tell whether a message meets the conditions on addresses, reply and route.

        None: it is unknown, because the envelope cannot be read.
        """
        if self.names_suffice:
            return True
        if entry.envelope is None:
            return None
        envelope, history = entry.envelope, entry.history
        return (
            (self.sender is None or fits_address(self.sender, envelope.sender))
            and (self.recipient is None or self._to(envelope))
            and (self.reply is None or fits_reply(self.reply, last_reply(history)))
            and (self.route is None or self._by_route(envelope, history))
        )

    def _to(self, envelope: Envelope) -> bool:
        pattern = self.recipient or ""
        return any(fits_address(pattern, address) for address in envelope.recipients)

    def _by_route(self, envelope: Envelope, history: History) -> bool:
        return self.route in self.routes_of(envelope, history.pending(envelope))


def parse_age(text: str) -> float:
    """Read ``90s``, ``15m``, ``12h``, ``5d`` or ``2w`` as seconds.

    Raises:
        ValueError: the text is not an age.

    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text}: not an age; write 90s, 15m, 12h, 5d or 2w")
    return float(match[1]) * _UNITS[match[2]]


def parse_id(text: str) -> QueueId:
    """Read a message id, or take it from the name of one of the message's files."""
    match = _FILE.fullmatch(text)
    return QueueId(match[1] if match else text)


def trace_query(text: str, since: float | None) -> HistoryQuery:
    """Return the query for a text: an id, a file name as for ``parse_id``, or other words.

    ``since``: see ``HistoryQuery``.
    """
    message = parse_id(text)
    if _ID.fullmatch(message) or message != text:
        return HistoryQuery(id=message, since=since)
    return HistoryQuery(text=text, since=since)
