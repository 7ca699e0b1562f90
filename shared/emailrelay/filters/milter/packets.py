"""The packets of the milter protocol: octets to values and back, no I/O.

A packet is a length (four octets, of all that follows), an octet for its kind, and data. Texts end
with NUL. Source: ``mfdef.h`` of libmilter (Sendmail 8.17), version 6 of the protocol.
"""

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from types import MappingProxyType
from typing import TypeAlias

from emailrelay.errors import RelayError
from emailrelay.reply import Reply

CHUNK = 65_535
"""The most octets of a packet that we send, behind its kind: the limit of libmilter."""
LONGEST_NAME = CHUNK - 2
"""The most octets of a field's name, which has a NUL behind it, as its value has."""
LONGEST = 1024 * 1024
"""The most octets of a packet that we accept. libmilter itself sends 65,536 at most."""

_LENGTH = struct.Struct("!L")
_NOT_IN_NAME = re.compile(rb"[\x00- :\x7f]")
"""What ends the name of a header field, and so the header."""

_STATUS = re.compile(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)")
"""An enhanced status code (RFC 3463)."""


class MilterError(RelayError):
    """The milter breaks the protocol, or does not speak it."""


class Command(bytes, Enum):
    """The kinds of packets for a milter."""

    NEGOTIATE = b"O"
    MACROS = b"D"
    CONNECT = b"C"
    HELO = b"H"
    MAIL = b"M"
    RCPT = b"R"
    DATA = b"T"
    HEADER = b"L"
    END_OF_HEADER = b"N"
    BODY = b"B"
    END_OF_BODY = b"E"
    ABORT = b"A"
    QUIT = b"Q"


class Answer(bytes, Enum):
    """The answers of a milter that have no data."""

    CONTINUE = b"c"
    ACCEPT = b"a"
    REJECT = b"r"
    DISCARD = b"d"
    LATER = b"t"
    SKIP = b"s"
    """No more steps of this kind are wanted for the message."""
    PROGRESS = b"p"
    """The milter still works, and asks for more time."""
    SHUT_DOWN = b"4"
    FAIL = b"f"


_PLAIN: Mapping[bytes, Answer] = MappingProxyType({each.value: each for each in Answer})


@dataclass(frozen=True, slots=True)
class ReplyCode:
    """Reject with this reply: 4yz or 5yz."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class AddHeader:
    """A new field at the end of the header."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class InsertHeader:
    """A new field behind the first ``index`` fields."""

    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ChangeHeader:
    """A new value for the field ``number`` of this name, from 1; an empty value removes it."""

    number: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class AddRecipient:
    """A new recipient, as the milter wrote it."""

    address: bytes


@dataclass(frozen=True, slots=True)
class RemoveRecipient:
    """A recipient to leave out, as the milter wrote it."""

    address: bytes


@dataclass(frozen=True, slots=True)
class ChangeSender:
    """A new sender, as the milter wrote it."""

    address: bytes


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    """A piece of the body that replaces the old one."""

    piece: bytes


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Set the message aside, for this reason."""

    reason: str


HeaderChange: TypeAlias = AddHeader | InsertHeader | ChangeHeader
EnvelopeChange: TypeAlias = AddRecipient | RemoveRecipient | ChangeSender
Modification: TypeAlias = HeaderChange | EnvelopeChange | ReplaceBody | Quarantined
Response: TypeAlias = Answer | ReplyCode | Modification


def packet(kind: bytes, data: bytes = b"") -> bytes:
    """Return a whole packet."""
    return _LENGTH.pack(len(data) + 1) + kind + data


def texts(kind: Command, *values: bytes) -> bytes:
    """Return a packet of texts. A NUL in one would end it early, so it is left out."""
    return packet(kind, _ended(values))


def macros(command: Command, values: Mapping[bytes, bytes]) -> bytes:
    """Return the packet with the macros for a command, or nothing if there are none."""
    if not values:
        return b""
    return packet(Command.MACROS, command + _ended(tuple(chain.from_iterable(values.items()))))


def _ended(values: Sequence[bytes]) -> bytes:
    """Return texts, each with the NUL that ends it."""
    together = b"\0".join(values)
    if together.count(b"\0") >= len(values):
        together = b"\0".join(value.replace(b"\0", b"") for value in values)
    return together + b"\0" if values else b""


def header(name: bytes, value: bytes) -> bytes:
    """Return the packet of a field; a value that is too long is cut off, and no name may be."""
    if b"\0" in value:
        value = value.replace(b"\0", b"")
    return packet(Command.HEADER, b"%b\0%b\0" % (name, value[: LONGEST_NAME - len(name)]))


def taken(buffer: bytearray) -> tuple[bytes, bytes] | None:
    """Take the first packet out of a buffer: its kind and data; None: it is not complete yet.

    Raises:
        MilterError: it is empty or too long.

    """
    if len(buffer) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(buffer)
    if not 0 < length <= LONGEST:
        begin = bytes(buffer[:40])
        raise MilterError(f"this is not a milter: it sends a packet of {length} octets: {begin!r}")
    end = _LENGTH.size + length
    if len(buffer) < end:
        return None
    whole = bytes(buffer[_LENGTH.size : end])
    del buffer[:end]
    return whole[:1], whole[1:]


def response(kind: bytes, data: bytes) -> Response:
    """Read an answer or a modification.

    Raises:
        MilterError: there is no such kind, or the data are not those of its kind.

    """
    plain = _PLAIN.get(kind)
    if plain is not None:
        return plain
    try:
        match kind:
            case b"y":
                return _reply_code(data)
            case b"h":
                return AddHeader(*_header(data))
            case b"i" | b"m":
                (number,) = _LENGTH.unpack_from(data)
                change = InsertHeader if kind == b"i" else ChangeHeader
                return change(number, *_header(data[_LENGTH.size :]))
            case b"+" | b"2":
                return AddRecipient(_first_text(data))
            case b"-":
                return RemoveRecipient(_first_text(data))
            case b"e":
                return ChangeSender(_first_text(data))
            case b"b":
                return ReplaceBody(data)
            case b"q":
                return Quarantined(_first_text(data).decode(errors="replace"))
            case _:
                raise ValueError(kind)  # noqa: TRY301 - the packet is in the message below
    except (ValueError, struct.error) as error:
        raise MilterError(f"it sends a packet that cannot be read: {kind + data[:80]!r}") from error


def _reply_code(data: bytes) -> ReplyCode:
    """Read the lines of a reply, each with the code in front and perhaps a hyphen behind it."""
    lines = _first_text(data).decode(errors="replace").splitlines()
    code = lines[0][:3] if lines else ""
    if not (code.isascii() and code.isdecimal() and code[0] in "45" and len(code) == 3):
        raise ValueError(code)
    # A reply's text is ASCII (RFC 5321 section 4.2).
    words = [_words(line.removeprefix(code)) for line in lines]
    if (status := _STATUS.match(words[0])) is not None:
        # Each line has it again (``smfi_setmlreply``), and all become one line.
        words[1:] = [_without(status[0], line) for line in words[1:]]
    text = " ".join(part for part in words if part).encode("ascii", "replace").decode()
    # libmilter has each % twice, as MTAs format this text.
    return ReplyCode(Reply.of(int(code), text.replace("%%", "%") or "rejected"))


def _words(rest: str) -> str:
    return rest[1:].strip() if rest[:1] in {"-", " ", "\t"} else rest.strip()


def _without(status: str, line: str) -> str:
    first, _, rest = line.partition(" ")
    return rest if first == status else line


def _header(data: bytes) -> tuple[bytes, bytes]:
    name, value = _texts(data)
    if not name or _NOT_IN_NAME.search(name) is not None:
        raise ValueError(name)
    return name, value


def _first_text(data: bytes) -> bytes:
    return next(iter(_texts(data)), b"")


def _texts(data: bytes) -> Iterable[bytes]:
    if not data.endswith(b"\0"):
        raise ValueError(data)
    return data[:-1].split(b"\0")
