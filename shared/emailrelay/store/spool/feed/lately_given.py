"""The messages that were handed out lately: a scan finds them again while they are worked on."""

from emailrelay.queue_id import QueueId

REST = 2.0
"""Seconds for which a scan leaves out a message that was handed out; its process may have died."""


class LatelyGiven:
    """Messages with the times at which they were handed out (seconds of any steady clock)."""

    def __init__(self) -> None:
        """Begin empty."""
        self._latest: dict[QueueId, float] = {}
        self._before: dict[QueueId, float] = {}
        """Those before the latest: both are dropped whole, so nothing is searched for old ones."""
        self._since = float("-inf")

    def note(self, message: QueueId, now: float) -> None:
        """Note a message that is handed out now."""
        if now - self._since >= REST:
            self._before, self._latest, self._since = self._latest, {}, now
        self._latest[message] = now

    def forget(self, message: QueueId) -> None:
        """Forget a message for which there is news."""
        self._latest.pop(message, None)
        self._before.pop(message, None)

    def __len__(self) -> int:
        """Return the number of notes that are kept."""
        return len(self._latest) + len(self._before)

    def rest(self, message: QueueId, now: float) -> float:
        """Return the seconds until a message should be tried again; 0: now."""
        given = self._latest.get(message, self._before.get(message))
        return 0.0 if given is None else max(0.0, given + REST - now)
