"""The name of a message: three groups of digits that sort by arrival and never repeat.

The groups are the fields of a UUID version 7 (``queue_uuid``), so that one id serves a spool
directory and a database alike: milliseconds since 1970 (48 bits), a number drawn at random by each
process (42 bits), and that process's count of messages, from 1 (32 bits).
"""

from typing import NewType

QueueId = NewType("QueueId", str)

PROCESS_BITS = 42


class QueueIds:
    """The ids that one process gives. ``process`` is drawn once, after any fork."""

    __slots__ = ("count", "latest", "process")

    def __init__(self, process: int, count: int = 0) -> None:
        self.process, self.count = process, count
        self.latest = 0

    def next(self, now: float) -> QueueId:
        """Give a new id for a message that arrives at ``now`` (seconds since 1970).

        The time never goes backwards within a process, so order of arrival survives a clock that does.
        """
        self.latest = max(self.latest, int(now * 1000))
        self.count += 1
        return QueueId(f"{self.latest}.{self.process}.{self.count}")
