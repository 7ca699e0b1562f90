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
    """A message was accepted: its whole envelope file and its content."""

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
    envelope, content = _parts(record)
    return _RECORD.size + len(record.id) + len(envelope) + len(content)


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


def _parts(record: Record) -> tuple[bytes, bytes]:
    match record:
        case Taken(_, _, envelope, content):
            return envelope, content
        case Noted(_, _, envelope):
            return envelope, b""
        case Gone():
            return b"", b""


def _write(record: Record) -> tuple[bytes, ...]:
    kind, stage, envelope, content = _GONE, 0, b"", b""
    match record:
        case Taken(_, where, envelope, content):
            kind, stage = _TAKEN, _STAGES.index(where)
        case Noted(_, where, envelope):
            kind, stage = _NOTED, _STAGES.index(where)
        case Gone():
            pass
    name = record.id.encode()
    head = _RECORD.pack(kind, stage, len(name), len(envelope), len(content))
    return head, name, envelope, content


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
