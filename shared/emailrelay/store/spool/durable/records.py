"""The format of the log: records of commits and settlements, in batches of whole blocks.

A batch has blocks of its own, so no write touches a block that was synced before. Its head has the
segment's *mark*, drawn at random for each segment. So neither the file's earlier octets nor the
text of a message can be taken for a batch. All of this is pure.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage

BLOCK = 4096
MARK_SIZE = 16
_BATCH = struct.Struct(">8s16sII")  # magic, mark, length and CRC-32 of the records
_MAGIC = b"EMRBATCH"
_RECORD = struct.Struct(">BBHII")  # kind, stage, length of id, of envelope, of content
_STAGES = tuple(Stage)
_TAKEN, _NOTED, _GONE = 1, 2, 3


class Taken(NamedTuple):
    """A message was accepted, or changed by filters: its whole envelope file and its content."""

    id: QueueId
    stage: Stage
    envelope: bytes
    content: bytes


class Noted(NamedTuple):
    """A message is at ``stage`` with this whole envelope file, its journal included."""

    id: QueueId
    stage: Stage
    envelope: bytes


class Gone(NamedTuple):
    """A message was removed."""

    id: QueueId


Record: TypeAlias = Taken | Noted | Gone


class Read(NamedTuple):
    """A record that was read. Its content stays in the file: ``content`` octets at ``offset``."""

    id: QueueId
    stage: Stage | None
    """None: the message is gone."""
    envelope: bytes
    offset: int
    content: int | None
    """None: the record has no content."""


def size(record: Record) -> int:
    """Return the length of a record in octets."""
    return _RECORD.size + len(record.id) + sum(map(len, record[2:]))  # envelope and content


def room(length: int) -> int:
    """Return the octets that a batch with records of ``length`` octets takes."""
    return -(-(_BATCH.size + length) // BLOCK) * BLOCK


def batch(mark: bytes, records: Sequence[Record]) -> bytes:
    """Return a batch, filled up to whole blocks."""
    # Contents are copied once, into the result.
    parts = [part for record in records for part in _write(record)]
    length = crc32 = 0
    for part in parts:
        length += len(part)
        crc32 = zlib.crc32(part, crc32)
    head = _BATCH.pack(_MAGIC, mark, length, crc32)
    return b"".join((head, *parts, bytes(room(length) - _BATCH.size - length)))


def _write(record: Record) -> tuple[bytes, ...]:
    match record:
        case Taken(_, stage, envelope, content):
            return _head(record, _TAKEN, stage, len(envelope), len(content)), envelope, content
        case Noted(_, stage, envelope):
            return _head(record, _NOTED, stage, len(envelope)), envelope
        case Gone():
            return (_head(record, _GONE),)


def _head(
    record: Record, kind: int, stage: Stage = _STAGES[0], envelope: int = 0, content: int = 0
) -> bytes:
    """Return what stands before envelope and content, which have these lengths."""
    name = record.id.encode()
    return _RECORD.pack(kind, _STAGES.index(stage), len(name), envelope, content) + name


def length_of_batch(mark: bytes, block: bytes) -> int | None:
    """Return the length of the records in the batch that begins with ``block``, if one does."""
    if len(block) < _BATCH.size:
        return None
    magic, its_mark, length, _ = _BATCH.unpack_from(block)
    return int(length) if (magic, its_mark) == (_MAGIC, mark) else None


def read_batch(octets: bytes, begins: int) -> list[Read] | None:
    """Read the batch that begins at ``begins`` in its file; None if any octet is wrong."""
    _, _, length, crc32 = _BATCH.unpack_from(octets)
    written = octets[_BATCH.size : _BATCH.size + length]
    if len(written) < length or zlib.crc32(written) != crc32:
        return None
    return list(_records(written, begins + _BATCH.size))


def _records(written: bytes, begins: int) -> Iterator[Read]:
    at = 0
    while at < len(written):
        kind, stage, id_length, envelope_length, content_length = _RECORD.unpack_from(written, at)
        at += _RECORD.size
        message = QueueId(written[at : at + id_length].decode(errors="replace"))
        at += id_length
        envelope = written[at : at + envelope_length]
        at += envelope_length
        yield Read(
            id=message,
            stage=None if kind == _GONE else _STAGES[stage],
            envelope=envelope,
            offset=begins + at,
            content=content_length if kind == _TAKEN else None,
        )
        at += content_length
