"""The journal on disk: lines appended to a message's envelope.

Only a long journal is rewritten, with fewer lines that give the same history. Each line is
``X-MailRelay-<Event>: <JSON object>`` CRLF, in ASCII, so that no address and no reply of a peer can
forge another line. The reader skips a truncated line and a line of an unknown kind: an append torn
by a crash must not hide the lines before or after it.
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from emailrelay import acceptance, journal_line
from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address
from emailrelay.journal import (
    AdministratorWish,
    Answered,
    Attempt,
    Doubted,
    Entry,
    Failure,
    Filtered,
    Flushed,
    Held,
    History,
    Moving,
    Notified,
    PlainEntry,
    Released,
    Wished,
    read,
)
from emailrelay.journal_line import count, moment
from emailrelay.reply import Reply, one_line
from emailrelay.stage import Stage

_WORDS: Mapping[type[Entry], str] = {
    **{kind: kind.__name__ for kind in get_args(Entry)},
    Failure: "Failed",
}
"""The words on disk."""


def write(entry: Entry) -> bytes:
    """Return the line or lines of one entry, each with CRLF."""
    if isinstance(entry, Accepted):
        return acceptance.write(entry)
    line = journal_line.write(_WORDS[type(entry)], _encode(entry))
    if isinstance(entry, Failure):
        return _reason(entry.reason) + line
    return line


def encode(entry: Entry) -> dict[str, Any]:
    """Return the object of an entry's line, with its word as ``event``."""
    value = acceptance.encode(entry) if isinstance(entry, Accepted) else _encode(entry)
    return {"event": _WORDS[type(entry)], **value}


def decode(value: Mapping[str, Any]) -> Entry | None:
    """Read an object of ``encode``; None: it is of an unknown kind, or wrong."""
    reader = _DECODERS.get(str(value.get("event")).encode(errors="replace"))
    try:
        return None if reader is None else reader(dict(value))
    except _WRONG:
        return None


def _reason(reply: Reply) -> bytes:
    """Return the two lines for older tools and administrators."""
    text = one_line(reply.text).encode()
    return b"X-MailRelay-Reason: %s\r\nX-MailRelay-ReasonCode: %d\r\n" % (text, reply.code)


def _encode(entry: PlainEntry) -> dict[str, Any]:
    match entry:
        case Attempt():
            value: dict[str, Any] = {"at": entry.at, "peer": entry.peer}
            value.update(_encode_replies(entry.replies))
            if entry.trouble is not None:
                value["trouble"] = str(entry.trouble)
            if entry.next_attempt is not None:
                value["next"] = entry.next_attempt
            if entry.tries != 1:
                value["tries"] = entry.tries
            if entry.tls:
                value["tls"] = entry.tls
            return value
        case Failure():
            return {"at": entry.at, "stage": entry.stage, "reason": str(entry.reason)}
        case Held(reason=""):
            return {"at": entry.at, "stage": entry.stage}
        case _:
            return {name: getattr(entry, name) for name in entry.__slots__}


def _encode_replies(replies: Mapping[Address, Reply]) -> dict[str, Any]:
    """Encode the results of an attempt.

    A final reply is written with its address, once in a journal. A temporary reply to many
    recipients comes again with each try, so its text is written once, with all their addresses.
    """
    alike: dict[Reply, list[str]] = {}
    for address, reply in replies.items():
        if not (reply.accepted or reply.permanent):
            alike.setdefault(reply, []).append(address)
    if not alike:  # nearly always
        return {"replies": {who: str(reply) for who, reply in replies.items()}} if replies else {}
    later = {str(reply): addresses for reply, addresses in alike.items() if len(addresses) > 1}
    grouped = {address for addresses in later.values() for address in addresses}
    each = {address: str(reply) for address, reply in replies.items() if address not in grouped}
    return ({"replies": each} if each else {}) | ({"later": later} if later else {})


def history(tail: bytes) -> History:
    """Read a journal from ``tail``, the envelope file's octets after its ``End`` line."""
    return read(parse(tail))


def parse(tail: bytes) -> list[Entry]:
    """Read the entries of ``tail``, the envelope file's octets after its ``End`` line."""
    entries: list[Entry] = []
    for line in tail.split(b"\n")[:-1]:  # after the last LF there may be a torn append
        entry = parse_line(line.rstrip(b"\r"))
        if entry is not None:
            entries.append(entry)
    return entries


def parse_line(line: bytes) -> Entry | None:
    """Read one line, without its CRLF; None: it is torn, or of an unknown kind."""
    name, colon, text = line.partition(b": ")
    reader = _READERS.get(name)
    try:
        return reader(journal_line.read(text)) if reader is not None and colon else None
    except _WRONG:
        return None


_WRONG = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""The errors of values that are wrong."""


def _attempt(value: dict[str, Any]) -> Attempt:
    trouble, next_attempt = value.get("trouble"), value.get("next")
    return Attempt(
        at=moment(value["at"]),
        peer=str(value["peer"]),
        replies=_replies(value),
        trouble=None if trouble is None else Reply.parse(trouble),
        next_attempt=None if next_attempt is None else moment(next_attempt),
        tries=count(value.get("tries", 1)),
        tls=str(value.get("tls", "")),
    )


def _replies(value: dict[str, Any]) -> dict[Address, Reply]:
    replies = {Address(a): Reply.parse(r) for a, r in value.get("replies", {}).items()}
    for text, addresses in value.get("later", {}).items():
        reply = Reply.parse(text)
        replies.update((Address(str(address)), reply) for address in addresses)
    return replies


_DECODERS: Mapping[bytes, Callable[[dict[str, Any]], Entry]] = {
    b"Accepted": acceptance.read,
    b"Answered": lambda v: Answered(at=moment(v["at"])),
    b"Filtered": lambda v: Filtered(
        at=moment(v["at"]), length=count(v["length"]), crc32=count(v["crc32"])
    ),
    b"Attempt": _attempt,
    b"Failed": lambda v: Failure(
        at=moment(v["at"]), stage=Stage(v["stage"]), reason=Reply.parse(v["reason"])
    ),
    b"Held": lambda v: Held(
        at=moment(v["at"]), stage=Stage(v["stage"]), reason=str(v.get("reason", ""))
    ),
    b"Moving": lambda v: Moving(
        at=moment(v["at"]), stage=Stage(v["stage"]), origin=str(v["origin"])
    ),
    b"Released": lambda v: Released(at=moment(v["at"])),
    b"Flushed": lambda v: Flushed(at=moment(v["at"])),
    b"Doubted": lambda v: Doubted(at=moment(v["at"]), peer=str(v["peer"])),
    b"Wished": lambda v: Wished(at=moment(v["at"]), wish=AdministratorWish(v["wish"])),
    b"Notified": lambda v: Notified(
        at=moment(v["at"]),
        told=None if v.get("told") is None else bool(v["told"]),
        to=tuple(Address(str(address)) for address in v.get("to", ())),
        notice=str(v.get("notice", "")),
    ),
}
_READERS = {journal_line.PREFIX + word: reader for word, reader in _DECODERS.items()}
"""The same by the names of lines."""
