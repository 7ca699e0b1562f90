"""Bounds the notices to one mailbox: a few one by one, then one about all others."""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from emailrelay.envelope import Address
from emailrelay.queue_id import QueueId

HOUR = 3600.0
MOST_TOGETHER = 250
"""The most messages in one notice. Each is held by its lock, an open file, until all are told."""

Addressees: TypeAlias = tuple[Address, ...]
CountedMailboxes: TypeAlias = tuple[str, ...]
"""Addressees as the bound counts them."""
_VERP = "="
"""Stands in the suffix of an address that a mailing list made for one of its recipients."""


def mailboxes(to: Addressees) -> CountedMailboxes:
    """Return the mailboxes of some addresses: ``Ann@X.test`` and ``ann+news@x.test`` are the same.

    Else a client could have any number of notices sent to one person. A suffix with ``=`` counts:
    a mailing list knows by it which of its recipients failed, as in ``list+bob=y.test@x.test``.
    """
    return tuple(map(_mailbox, to))


def _mailbox(address: Address) -> str:
    local, at, domain = address.lower().rpartition("@")
    name, _, suffix = local.partition("+")
    whole = not name or _VERP in suffix or local.startswith('"')
    return f"{local if whole else name}{at}{domain}"


class NoticesDue(NamedTuple):
    """The failed messages that one address is notified of now, oldest first."""

    singly: tuple[QueueId, ...] = ()
    together: tuple[QueueId, ...] = ()


def notices_due(
    waiting: Mapping[QueueId, float], *, recent: int, most: int, now: float
) -> NoticesDue:
    """Return the notices that go to one mailbox now.

    Each message gets a notice of its own while the mailbox has had fewer than ``most`` notices
    within an hour. Otherwise messages wait until the oldest has waited for an hour. Then one notice
    is about all of them.

    Args:
        waiting: the times at which the messages failed (seconds since 1970).
        recent: the notices to the mailbox within the last hour.
        most: the most notices within an hour, before messages wait.
        now: the time (seconds since 1970).

    """
    oldest_first = sorted(waiting, key=lambda message: (waiting[message], message))
    if oldest_first and now - waiting[oldest_first[0]] >= HOUR:
        if len(oldest_first) == 1:
            return NoticesDue(singly=tuple(oldest_first))
        return NoticesDue(together=tuple(oldest_first[:MOST_TOGETHER]))
    return NoticesDue(singly=tuple(oldest_first[: max(0, most - recent)]))


class Pace:
    """The messages that wait for their notices, and the notices of the last hour, by mailboxes."""

    def __init__(self) -> None:
        self._waiting: defaultdict[CountedMailboxes, dict[QueueId, float]] = defaultdict(dict)
        self._recent: defaultdict[CountedMailboxes, dict[str, float]] = defaultdict(dict)

    def add(self, to: Addressees, message: QueueId, failed_at: float) -> None:
        """Have a message wait for its notice."""
        self._waiting[mailboxes(to)][message] = failed_at

    def drop(self, to: CountedMailboxes, message: QueueId) -> None:
        """Have a message wait no more."""
        self._waiting[to].pop(message, None)
        if not self._waiting[to]:
            del self._waiting[to]

    def keep_only(self, listed: Container[QueueId]) -> None:
        """Forget the messages that are gone."""
        for to, waiting in list(self._waiting.items()):
            for message in [gone for gone in waiting if gone not in listed]:
                self.drop(to, message)

    def count(self, to: Addressees, notice: str, at: float) -> None:
        """Count a notice, once for all messages that share it."""
        if to:
            self._recent[mailboxes(to)][notice] = at

    def due(self, *, most: int, now: float) -> Iterator[tuple[CountedMailboxes, NoticesDue]]:
        """Yield the notices that are due now."""
        for to in list(self._recent):
            within = {n: at for n, at in self._recent[to].items() if now - HOUR < at <= now}
            self._recent[to] = within
            if not within:
                del self._recent[to]
        for to, waiting in list(self._waiting.items()):
            recent = len(self._recent.get(to, ()))
            due = notices_due(waiting, recent=recent, most=most, now=now)
            if due != NoticesDue():
                yield to, due

    def held_back(self, to: CountedMailboxes) -> float | None:
        """Return the time at which all messages for these mailboxes are told of, if any wait."""
        waiting = self._waiting.get(to)
        return min(waiting.values()) + HOUR if waiting else None

    def next_due(self) -> float | None:
        """Return the time at which the next waiting messages share a notice; None: none waits."""
        times = [min(waiting.values()) + HOUR for waiting in self._waiting.values()]
        return min(times, default=None)
