"""The text of a submitted message: line ends, the header, and what a complete header needs."""

import re
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

_LINE_END = re.compile(rb"\r\n|\r|\n")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PIECE = 64 * 1024
_LARGEST_HEADER = 1024 * 1024
_RECIPIENT_FIELDS = (b"to", b"cc", b"bcc")


class DataError(Exception):
    """What came on standard input is no message that can be sent; the text says why."""


class Origin(NamedTuple):
    """Who submits, for the fields that a message lacks. ``now`` is in seconds since 1970."""

    id: str
    host: str
    user: str
    full_name: str
    uid: int
    now: float


class Header(NamedTuple):
    """Fields in their order, each with its folded lines and CRLFs."""

    fields: tuple[bytes, ...]

    def has(self, name: bytes) -> bool:
        """Tell whether there is a field of this name (in lower case)."""
        return any(_name(field) == name for field in self.fields)

    def values(self, *names: bytes) -> list[str]:
        """Give the values of all fields of these names, unfolded."""
        chosen = [field for field in self.fields if _name(field) in names]
        return [
            field.partition(b":")[2].replace(b"\r\n", b"").strip().decode(errors="replace")
            for field in chosen
        ]

    def without(self, *names: bytes) -> "Header":
        """Give the header less the fields of these names."""
        return Header(tuple(field for field in self.fields if _name(field) not in names))

    def recipient_values(self) -> list[str]:
        """Give the address lists of ``-t``: of a resent message those of its resending."""
        resent = self.values(*(b"resent-" + name for name in _RECIPIENT_FIELDS))
        return resent or self.values(*_RECIPIENT_FIELDS)

    def completed(self, origin: Origin) -> "Header":
        """Add what every message must have (RFC 5322 section 3.6) and this one lacks."""
        added = [_received(origin)]
        if not self.has(b"date"):
            added.append(f"Date: {_date(origin.now)}\r\n")
        if not self.has(b"from"):
            added.append(f"From: {_mailbox(origin)}\r\n")
        if not self.has(b"message-id"):
            added.append(f"Message-ID: <{origin.id}@{origin.host}>\r\n")
        return Header((*(line.encode() for line in added), *self.fields))


def _name(field: bytes) -> bytes:
    return field.partition(b":")[0].rstrip().lower()


def _received(origin: Origin) -> str:
    where = f"Received: by {origin.host} (E-MailRelay, from userid {origin.uid})"
    return f"{where}\r\n id {origin.id}; {_date(origin.now)}\r\n"


def _date(now: float) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S %z", time.localtime(now))


def _mailbox(origin: Origin) -> str:
    address = f"{origin.user}@{origin.host}"
    name = _UNPRINTABLE.sub(" ", origin.full_name).replace("\\", "\\\\").replace('"', '\\"').strip()
    return f'"{name}" <{address}>' if name else address


def lines(source: BinaryIO, *, dots_end: bool) -> Iterator[bytes]:
    """Give the lines of standard input, very long ones in pieces, up to a lone dot if that ends it."""
    fresh = True
    while piece := source.readline(_PIECE):
        if fresh and dots_end and piece.rstrip(b"\r\n") == b".":
            return
        fresh = piece.endswith(b"\n")
        yield piece


def take_header(source: Iterator[bytes]) -> tuple[Header, list[bytes]]:
    """Read the header; give it, and the lines of the body that had to be read to see its end.

    Raises:
        DataError: it is too large.

    """
    fields: list[bytes] = []
    size = 0
    for number, line in enumerate(source):
        size += len(line)
        if size > _LARGEST_HEADER:
            raise DataError("the header is larger than 1 MiB")
        text = line.rstrip(b"\r\n")
        if not text:
            break
        if fields and text[:1] in (b" ", b"\t"):
            fields[-1] += text + b"\r\n"
        elif _FIELD.match(text):
            fields.append(text + b"\r\n")
        elif not (number == 0 and text.startswith(b"From ")):  # a mailbox file's first line
            return _clean(fields), [line]
    return _clean(fields), []


def _clean(fields: Iterable[bytes]) -> Header:
    """Drop what no header line may hold (RFC 5322 section 2.2): bare CRs and NULs."""
    return Header(
        tuple(
            f[:-2]
            .replace(b"\r\n", b"\n")
            .replace(b"\r", b" ")
            .replace(b"\0", b"")
            .replace(b"\n", b"\r\n")
            + b"\r\n"
            for f in fields
        )
    )


def body(source: Iterable[bytes]) -> Iterator[bytes]:
    """Give the body with every line end made CRLF, in pieces of good size, the last line ended.

    Raises:
        DataError: there is a NUL in it.

    """
    gathered = bytearray()
    ended = True
    for line in source:
        gathered += line
        if len(gathered) >= _PIECE and not gathered.endswith(b"\r"):
            ended = gathered.endswith(b"\n")
            yield _converted(gathered)
            gathered.clear()
    if gathered:
        ended = gathered.endswith((b"\n", b"\r"))
        yield _converted(gathered)
    if not ended:
        yield b"\r\n"


def _converted(octets: bytearray) -> bytes:
    if b"\0" in octets:
        raise DataError("there is a NUL in the message; encode it (base64) or send it as text")
    return _LINE_END.sub(b"\r\n", octets)
