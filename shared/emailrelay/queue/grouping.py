"""Groups of messages that have something in common."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from emailrelay.queue.reply_group import reply_group
from emailrelay.queue.row import row
from emailrelay.queue.selection import RoutesOf
from emailrelay.queue.state import State
from emailrelay.store.queue_view import QueueEntry


class Grouping(StrEnum):
    """The thing that the messages of a group have in common."""

    REPLY = "reply"
    STATE = "state"
    SENDER = "sender"
    DOMAIN = "domain"
    ROUTE = "route"


@dataclass(slots=True, kw_only=True)
class MessageGroup:
    """A group. Times are seconds since 1970.

    ``--json`` prints these fields as an object: their names are an interface (docs/queue.md).
    """

    by: Grouping
    group: str
    """The text of the reply, the state, the address, the domain, or the route's name."""
    messages: int = 0
    octets: int = 0
    oldest: float | None = None
    next_attempt: float | None = None
    """The first next try; None: at once, or none."""


def groups(
    entries: Iterable[QueueEntry], by: Grouping, now: float, routes_of: RoutesOf
) -> list[MessageGroup]:
    """Return the groups, the largest first.

    A message whose pending recipients have several domains or routes counts in each of these.
    """
    found = dict[str, MessageGroup]()
    for entry in entries:
        shown = row(entry, now)
        for name in _names(entry, by, shown.state, shown.last_reply, routes_of):
            group = found.setdefault(name, MessageGroup(by=by, group=name))
            group.messages += 1
            group.octets += shown.size
            group.oldest = _least(group.oldest, shown.arrived)
            group.next_attempt = _least(group.next_attempt, shown.next_attempt)
    return sorted(found.values(), key=lambda group: (-group.messages, group.group))


def _names(
    entry: QueueEntry, by: Grouping, state: State, reply: str, routes_of: RoutesOf
) -> Collection[str]:
    if by is Grouping.STATE:
        return (state.value,)
    if by is Grouping.REPLY:
        return (reply_group(reply),)
    if entry.envelope is None:
        return ("?",)
    if by is Grouping.SENDER:
        return (entry.envelope.sender.lower() or "<>",)
    pending = entry.history.pending(entry.envelope) or entry.envelope.recipients
    if by is Grouping.DOMAIN:
        return {address.rpartition("@")[2].lower() for address in pending}
    return routes_of(entry.envelope, pending)


def _least(one: float | None, other: float | None) -> float | None:
    known = [moment for moment in (one, other) if moment is not None]
    return min(known, default=None)
