"""The text of a submitted message: line ends, the header and its missing fields."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

from emailrelay.errors import RelayError

_LINE_END = re.compile(rb"\r\n|\r|\n")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PIECE = 64 * 1024
_LARGEST_HEADER = 1024 * 1024
_RECIPIENT_FIELDS = frozenset({b"to", b"cc", b"bcc"})
_ADDRESS_FIELDS = _RECIPIENT_FIELDS | {b"from", b"sender", b"reply-to"}
_TRACE_FIELDS = frozenset({b"received", b"return-path"})
_RESENT = b"resent-"
_LONGEST_QUOTED = 200
"""Characters; a line has at most 998 (RFC 5322 section 2.1.1), and encoded words can be folded."""
_WORD_OCTETS = 45
"""Octets of text in an encoded word, which has at most 75 characters (RFC 2047 section 2)."""


class DataError(RelayError):
    """Standard input is not a message that can be sent; the text says why."""

    temporary = False


class NoInput(RelayError):
    """Standard input cannot be read; the text says why."""

    temporary = False


class Origin(NamedTuple):
    """The submitting user and host, for missing header fields. ``now``: seconds since 1970."""

    id: str
    host: str
    address: str
    full_name: str
    uid: int
    now: float


class Header(NamedTuple):
    """The fields in their order, each with its folded lines and CRLFs."""

    fields: tuple[bytes, ...]

    def has(self, name: bytes) -> bool:
        """Tell whether there is a field of this name (in lower case)."""
        return any(_name(field) == name for field in self.fields)

    def without(self, *names: bytes) -> "Header":
        """Return the header without the fields of these names."""
        return Header(tuple(field for field in self.fields if _name(field) not in names))

    def recipient_fields(self) -> list[tuple[str, str]]:
        """Return the names and values of the fields with the recipients of ``-t``.

        In a resent message these are the fields of its last resending, which stand above the others
        (RFC 5322 section 3.6.6).
        """
        resent = [field for field in self._last_resending() if _bare(field) in _RECIPIENT_FIELDS]
        chosen = resent or [field for field in self.fields if _name(field) in _RECIPIENT_FIELDS]
        return [_name_and_value(field) for field in chosen]

    def _last_resending(self) -> list[bytes]:
        """Return the Resent- fields above the trace fields of earlier transports."""
        found: list[bytes] = []
        for field in self.fields:
            if found and _name(field) in _TRACE_FIELDS:
                break
            if _name(field).startswith(_RESENT):
                found.append(field)
        return found

    def with_addresses(self, change: Callable[[str], str]) -> "Header":
        """Return the header with changed values of its address fields; other octets stay."""
        return Header(
            tuple(
                _with_value(field, change) if _bare(field) in _ADDRESS_FIELDS else field
                for field in self.fields
            )
        )

    def completed(self, origin: Origin) -> "Header":
        """Add the required fields (RFC 5322 section 3.6) that the message lacks."""
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


def _bare(field: bytes) -> bytes:
    """Return a field's name in lower case and without ``Resent-``."""
    return _name(field).removeprefix(_RESENT)


def _name_and_value(field: bytes) -> tuple[str, str]:
    name, _, value = field.partition(b":")
    return name.decode().rstrip(), _text(value)


def _with_value(field: bytes, change: Callable[[str], str]) -> bytes:
    name, _, value = field.partition(b":")
    return name + b":" + change(_text(value)).encode(errors="surrogateescape")


def _text(value: bytes) -> str:
    """Decode a value; octets that are not UTF-8 survive, and are detected in addresses."""
    return value.decode(errors="surrogateescape")


def _received(origin: Origin) -> str:
    where = f"Received: by {origin.host} (E-MailRelay, from userid {origin.uid})"
    return f"{where}\r\n id {origin.id}; {_date(origin.now)}\r\n"


def _date(now: float) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S %z", time.localtime(now))


def _mailbox(origin: Origin) -> str:
    name = origin.full_name.encode(errors="surrogateescape").decode(errors="replace")
    name = _UNPRINTABLE.sub(" ", name).strip()
    return f"{phrase(name)} <{origin.address}>" if name else origin.address


def phrase(name: str) -> str:
    """Return a name for use before an address: quoted, or in encoded words (RFC 2047)."""
    if name.isascii() and len(name) <= _LONGEST_QUOTED:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return "\r\n ".join(_encoded(piece) for piece in _pieces(name))


def _pieces(name: str) -> Iterator[str]:
    """Split a name so that each piece fits into an encoded word; characters stay whole."""
    piece = ""
    for letter in name:
        if len((piece + letter).encode()) > _WORD_OCTETS:
            yield piece
            piece = ""
        piece += letter
    yield piece


def _encoded(piece: str) -> str:
    import binascii  # noqa: PLC0415 - few names need it

    return f"=?utf-8?b?{binascii.b2a_base64(piece.encode(), newline=False).decode()}?="


def lines(source: BinaryIO, *, dots_end: bool) -> Iterator[bytes]:
    """Yield the lines of standard input, very long ones in pieces.

    ``dots_end``: a line with only a dot ends the input.

    Raises:
        NoInput: standard input cannot be read.

    """
    fresh = True
    while piece := _read_line(source):
        if fresh and dots_end and piece.rstrip(b"\r\n") == b".":
            return
        fresh = piece.endswith(b"\n")
        yield piece


def _read_line(source: BinaryIO) -> bytes:
    try:
        return source.readline(_PIECE)
    except OSError as error:
        raise NoInput(f"no message can be read from standard input: {error.strerror}") from error


def take_header(source: Iterator[bytes]) -> tuple[Header, list[bytes]]:
    """Read the header; return it and the lines of the body that were read with it.

    Raises:
        DataError: the header is too large.

    """
    fields: list[list[bytes]] = []  # lists of lines: joining them one by one takes quadratic time
    for number, pieces in enumerate(_header_lines(source)):
        text = b"".join(pieces).rstrip(b"\r\n")
        if not text:
            break
        if fields and text[:1] in (b" ", b"\t"):
            fields[-1].append(text + b"\r\n")
        elif _FIELD.match(text):
            fields.append([text + b"\r\n"])
        elif not (number == 0 and text.startswith(b"From ")):  # a mailbox file's first line
            return _clean(map(b"".join, fields)), pieces
    return _clean(map(b"".join, fields)), []


def _header_lines(source: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield complete lines, each as a list of its pieces."""
    size = 0
    pieces: list[bytes] = []
    for piece in source:
        pieces.append(piece)
        size += len(piece)
        if size > _LARGEST_HEADER:
            raise DataError("the header is larger than 1 MiB; is an empty line missing after it?")
        if piece.endswith(b"\n") or (len(pieces) == 1 and not _may_be_header(piece)):
            yield pieces
            pieces = []
    if pieces:
        yield pieces


def _may_be_header(piece: bytes) -> bool:
    return piece[:1] in (b" ", b"\t") or _FIELD.match(piece) is not None


def _clean(fields: Iterable[bytes]) -> Header:
    """Remove characters that header lines may not contain (RFC 5322 2.2): bare CRs and NULs."""
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
    """Yield the body in large pieces, with CRLF line ends and a complete last line.

    Raises:
        DataError: the body contains a NUL.

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
        raise DataError("the message contains a NUL; encode it in base64 or send it as text")
    return _LINE_END.sub(b"\r\n", octets)
