"""The failed messages that one process has looked at, and the times at which senders were told."""

from collections.abc import Container, Iterator
from typing import NamedTuple

from emailrelay.envelope import NULL_SENDER, Envelope
from emailrelay.journal import History
from emailrelay.queue_id import QueueId


class _Seen(NamedTuple):
    """A message as it was at the last look."""

    since: float | None
    """The time in the listing, which changes if the message is tried again. None: look again."""
    told_at: float | None
    """None: its sender was not told."""


def told_at(envelope: Envelope | None, history: History) -> float | None:
    """Return the time at which the sender of a failed message was told. None: it was not.

    A line of an older release does not say; then all were told but the null sender.
    """
    notice = history.notice
    if envelope is None or not history.notified or notice is None:
        return None
    told = envelope.sender != NULL_SENDER if notice.told is None else notice.told
    return notice.at if told else None


class ToldMail:
    """What one process remembers of the failed messages of a store. Times: seconds since 1970."""

    def __init__(self) -> None:
        self._seen: dict[QueueId, _Seen] = {}

    def is_seen(self, message: QueueId, since: float) -> bool:
        """Return whether a listed message needs no look."""
        seen = self._seen.get(message)
        return seen is not None and seen.since == since

    def see(self, message: QueueId, since: float | None, told: float | None = None) -> None:
        """Remember a message; ``told`` is the time at which its sender was told."""
        self._seen[message] = _Seen(since, told)

    def forget(self, message: QueueId) -> None:
        """Forget a message that may have changed."""
        self._seen.pop(message, None)

    def keep_only(self, listed: Container[QueueId]) -> None:
        """Forget the messages that are gone."""
        self._seen = {message: seen for message, seen in self._seen.items() if message in listed}

    def expired(self, before: float) -> Iterator[QueueId]:
        """Yield the messages whose senders were told at ``before`` or earlier."""
        for message, seen in list(self._seen.items()):
            if seen.told_at is not None and seen.told_at <= before:
                yield message
