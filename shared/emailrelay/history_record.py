"""The record of a message in the history: one JSON object on a line, in ASCII.

It has the facts of the envelope and the whole journal. Its first keys are ``v``, ``id`` and
``ended``, in this order, so that a reader finds them without reading the rest. The form is in
``docs/history.md``.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from emailrelay import journal_format
from emailrelay.acceptance import Accepted
from emailrelay.compact_json import json_writer
from emailrelay.dsn_request import NO_REQUEST
from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt, Entry, Filtered
from emailrelay.journal_line import count, moment
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage

VERSION = 1
LARGEST = 2 * 1024 * 1024
"""Octets of a record; a larger one names fewer recipients."""
_MOST_NAMED = 1000
"""The recipients in a record that would be too large."""
_HEAD = re.compile(
    rb'(?m)^\{"v":1,"id":"([!-~]{1,200}?)","ended":([0-9]{1,12}(?:\.[0-9]{1,9})?),"end":"([a-z]+)"'
)
_json = json_writer(ascii_only=True)


class PastMessage(NamedTuple):
    """A message as the history tells of it; one that is still in the store has no ``end``."""

    id: QueueId
    ended: float
    """Seconds since 1970; of a message that is still in the store, the time of the question."""
    end: MessageEnd | None
    sender: Address
    recipients: tuple[Address, ...]
    client: str = ""
    user: str = ""
    """The authenticated user."""
    size: int = 0
    """Octets of content."""
    message_id: str = ""
    entries: tuple[Entry, ...] = ()
    """Its journal."""
    more: int = 0
    """The number of recipients that the record does not name."""
    stage: Stage | None = None
    """The stage of a message that is still in the store."""

    @property
    def arrived(self) -> float | None:
        """Return the time of acceptance; None: it is the message of another program."""
        return next((entry.at for entry in self.entries if isinstance(entry, Accepted)), None)


class EndedMessage(NamedTuple):
    """The end of a message, as the beginning of its record tells it."""

    id: QueueId
    ended: float
    """Seconds since 1970."""
    end: MessageEnd


def ends_in(records: bytes) -> Iterator[EndedMessage]:
    """Yield the ends in many records, without reading the rest of them."""
    for message, ended, end in _HEAD.findall(records):
        with suppress(ValueError):  # of a later version
            yield EndedMessage(QueueId(message.decode()), float(ended), MessageEnd(end.decode()))


def past(
    message: QueueId,
    envelope: Envelope,
    entries: Iterable[Entry],
    *,
    now: float,
    end: MessageEnd | None,
    size: int | None = None,
    stage: Stage | None = None,
) -> PastMessage:
    """Return what the history tells of a message.

    ``size`` is that of the content; without it, the journal tells.
    """
    journal = tuple(entries)
    return PastMessage(
        id=message,
        ended=now,
        end=end,
        sender=envelope.sender,
        recipients=tuple(dict.fromkeys(envelope.recipients)),
        client=envelope.client,
        user=envelope.authentication,
        size=_length(journal) if size is None else size,
        message_id=envelope.message_id,
        entries=journal,
        stage=stage,
    )


def _length(entries: Sequence[Entry]) -> int:
    measured = [entry.length for entry in entries if isinstance(entry, Accepted | Filtered)]
    return measured[-1] if measured else 0


def write(message: PastMessage) -> bytes:
    """Return the record with its LF, of at most ``LARGEST`` octets or a few."""
    line = _write(message)
    return line if len(line) <= LARGEST else _write(_fewer(message))


def _write(message: PastMessage) -> bytes:
    record: dict[str, Any] = {
        "v": VERSION,
        "id": message.id,
        "ended": message.ended,
        "end": message.end,
        "from": message.sender,
        "to": message.recipients,
    }
    if message.more:
        record["more"] = message.more
    if message.client:
        record["client"] = message.client
    if message.user:
        record["user"] = message.user
    if message.size:
        record["size"] = message.size
    if message.message_id:
        record["message_id"] = message.message_id
    record["journal"] = [journal_format.encode(entry) for entry in message.entries]
    return _json(record).encode() + b"\n"


def _fewer(message: PastMessage) -> PastMessage:
    """Return the record with the first recipients, and their replies only."""
    named = message.recipients[:_MOST_NAMED]
    kept = frozenset(named)
    entries = tuple(_about(entry, kept) for entry in message.entries[-_MOST_NAMED:])
    more = message.more + len(message.recipients) - len(named)
    return message._replace(recipients=named, entries=entries, more=more)


def _about(entry: Entry, kept: frozenset[Address]) -> Entry:
    if isinstance(entry, Accepted):
        return entry._replace(dsn=NO_REQUEST)
    if not isinstance(entry, Attempt):
        return entry
    replies = {address: reply for address, reply in entry.replies.items() if address in kept}
    return replace(entry, replies=replies)


def read(line: bytes) -> PastMessage | None:
    """Read a record; None: it is torn, damaged or of another version.

    A line that begins with a torn record, as a full disk may leave it, still gives the whole record
    at its end.
    """
    found = _read(line)
    if found is not None:
        return found
    again = line.rfind(_BEGINNING)  # no JSON text has this in it, since it escapes quotes
    return _read(line[again:]) if again > 0 else None


_BEGINNING = b'{"v":%d,"id":"' % VERSION


def _read(line: bytes) -> PastMessage | None:
    try:
        value = json.loads(line)
        return _of(value) if value["v"] == VERSION else None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _of(value: Mapping[str, Any]) -> PastMessage:
    entries = (journal_format.decode(each) for each in value["journal"])
    return PastMessage(
        id=QueueId(str(value["id"])),
        ended=moment(value["ended"]),
        end=MessageEnd(value["end"]),
        sender=Address(str(value["from"])),
        recipients=tuple(Address(str(each)) for each in value["to"]),
        client=str(value.get("client", "")),
        user=str(value.get("user", "")),
        size=count(value.get("size", 0)),
        message_id=str(value.get("message_id", "")),
        entries=tuple(entry for entry in entries if entry is not None),
        more=count(value.get("more", 0)),
    )
