"""The name of a message: three groups of digits that sort by arrival and never repeat.

The groups are the fields of a UUID version 7 (``queue_uuid``), so that one id serves a spool
directory and a database alike: milliseconds since 1970 (48 bits), a random number of each
process (42 bits), and that process's count of messages, from 1 (32 bits).
"""

from typing import NewType

QueueId = NewType("QueueId", str)

PROCESS_BITS = 42
_TIMES = range(10**12, 1 << 48)
"""Milliseconds from 2001 on. The ids of the original program have the same form, but begin with the
number of a process, which is smaller."""
_MOST_DIGITS = 20
"""Python converts no text of more than 4,300 digits."""


class QueueIds:
    """The new ids of one process. ``process`` is a random number, drawn once after any fork."""

    __slots__ = ("count", "latest", "process")

    def __init__(self, process: int, count: int = 0) -> None:
        self.process, self.count = process, count
        self.latest = 0

    def next(self, now: float) -> QueueId:
        """Return a new id for a message that arrives at ``now`` (seconds since 1970).

        The time in the ids of a process never goes back, even if the clock is set back.
        """
        self.latest = max(self.latest, int(now * 1000))
        self.count += 1
        return QueueId(f"{self.latest}.{self.process}.{self.count}")


def arrived_at(message: QueueId) -> float | None:
    """Return the time of arrival in an id (seconds since 1970). None: it is another program's."""
    groups = message.split(".")
    if len(groups) != 3 or not all(group.isascii() and group.isdecimal() for group in groups):
        return None
    milliseconds = _number(groups[0])
    return milliseconds / 1000 if milliseconds in _TIMES else None


def arrival(message: QueueId) -> tuple[int, ...]:
    """Return a key that sorts ids by arrival: their groups are numbers."""
    return tuple(map(_number, message.split(".")))


def _number(group: str) -> int:
    """Return a group as a number; 0: it is none, or one that no id has."""
    return int(group) if group.isdecimal() and len(group) <= _MOST_DIGITS else 0
