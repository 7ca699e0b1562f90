"""The name of a message: three groups of digits that sort by arrival and never repeat.

The groups are the fields of a UUID version 7 (RFC 9562 section 5.7), so that one id serves a spool
directory and a database alike: milliseconds since 1970 (48 bits), a number drawn at random by each
process (42 bits), and that process's count of messages, from 1 (32 bits).
"""

import re
from dataclasses import dataclass
from typing import NewType
from uuid import UUID

QueueId = NewType("QueueId", str)

PROCESS_BITS = 42
_COUNT_BITS = 32
_OURS = re.compile(r"([0-9]{1,15})\.([0-9]{1,13})\.([0-9]{1,10})")


@dataclass(slots=True)
class QueueIds:
    """The ids that one process gives. ``process`` is drawn once, after any fork."""

    process: int
    count: int = 0
    latest: int = 0

    def next(self, now: float) -> QueueId:
        """Give a new id for a message that arrives at ``now`` (seconds since 1970).

        The time never goes backwards within a process, so order of arrival survives a clock that does.
        """
        self.latest = max(self.latest, int(now * 1000))
        self.count += 1
        return QueueId(f"{self.latest}.{self.process}.{self.count}")


def to_uuid(queue_id: QueueId) -> UUID:
    """Return the UUIDv7 that a queue id of ours spells.

    Raises:
        ValueError: the id is not one of ours (another program's file name).

    """
    match = _OURS.fullmatch(queue_id)
    if match is None:
        raise ValueError(queue_id)
    milliseconds, process, count = (int(group) for group in match.groups())
    if milliseconds >> 48 or process >> PROCESS_BITS or count >> _COUNT_BITS:
        raise ValueError(queue_id)
    random_a, random_b = process >> 30, process & (1 << 30) - 1
    return UUID(
        int=milliseconds << 80
        | 7 << 76
        | random_a << 64
        | 2 << 62
        | random_b << _COUNT_BITS
        | count
    )


def from_uuid(uuid: UUID) -> QueueId:
    """Return the queue id that a UUID made by ``to_uuid`` stands for."""
    number = uuid.int
    process = (number >> 64 & 0xFFF) << 30 | number >> _COUNT_BITS & (1 << 30) - 1
    return QueueId(f"{number >> 80}.{process}.{number & (1 << _COUNT_BITS) - 1}")
