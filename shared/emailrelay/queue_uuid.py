"""Converts a queue id to its UUID version 7 (RFC 9562 section 5.7), and back."""

import re
from uuid import UUID

from emailrelay.queue_id import PROCESS_BITS, QueueId

_COUNT_BITS = 32
_NUMBER = "(0|[1-9][0-9]{0,14})"  # each id has one spelling
_OURS = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")


def to_uuid(queue_id: QueueId) -> UUID:
    """Return the UUIDv7 of a queue id of this relay.

    Raises:
        ValueError: the id is a file name of another program.

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


def uuid_of(queue_id: QueueId) -> UUID | None:
    """Return the UUIDv7 of a queue id; None: it is a file name of another program."""
    try:
        return to_uuid(queue_id)
    except ValueError:
        return None


def from_uuid(uuid: UUID) -> QueueId:
    """Return the queue id of a UUID made by ``to_uuid``."""
    number = uuid.int
    process = (number >> 64 & 0xFFF) << 30 | number >> _COUNT_BITS & (1 << 30) - 1
    return QueueId(f"{number >> 80}.{process}.{number & (1 << _COUNT_BITS) - 1}")
