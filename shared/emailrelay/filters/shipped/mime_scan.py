"""Finds the parts of a message that readers see as its text (RFC 2046), by their places.

The scan reads lines and keeps places only. Its depth and the number of parts are bounded, so a
hostile structure costs no more than the octets it has.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from emailrelay.filters.shipped.header_block import body_of, name_of

_LINE = 64 * 1024
"""The most octets read at once; the rest of a longer line is not a delimiter."""
_MOST_DEPTH = 20
_MOST_PARTS = 1000
_MOST_READABLE = 20
_LONGEST_HEADER = 64 * 1024
"""Octets of the header of a part."""
_LONGEST_FIELD = 4096
_PARAMETER = re.compile(r';[ \t]*([^ \t;="]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^ \t;"]*))')
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_SEALED = frozenset(
    {
        "multipart/signed",
        "multipart/encrypted",
        "application/pkcs7-mime",
        "application/x-pkcs7-mime",
        "application/pgp-encrypted",
    }
)
"""Types that a change would break: signed or encrypted (RFC 1847, RFC 8551, RFC 3156)."""
_PGP = b"-----BEGIN PGP "


class SealedMessage(Exception):
    """The message is signed or encrypted, so it must stay as it is."""


class MimeType(NamedTuple):
    """The value of a Content-Type field: type and subtype in lower case, and the parameters."""

    kind: str
    parameters: Mapping[str, str]


@dataclass(slots=True)
class MimePart:
    """A part that is not a multipart: its fields, and the places of header and body."""

    fields: list[bytes]
    header: int
    """The offset of the header."""
    body: int
    """The offset of the body; the empty line is before it."""
    end: int = -1
    """The offset behind the body. The line end before a delimiter is not of the body."""

    @property
    def type(self) -> MimeType:
        """Return the type; without a field it is plain text (RFC 2045 section 5.2)."""
        return mime_type(self.fields)

    def value(self, name: bytes) -> str:
        """Return the first word of a field in lower case, or an empty text."""
        return _value(self.fields, name).partition(";")[0].strip().lower()

    @property
    def readable(self) -> bool:
        """Tell whether readers see it as text of the message."""
        shown = self.value(b"content-disposition") != "attachment"
        return shown and self.type.kind in {"text/plain", "text/html"}


def mime_type(fields: list[bytes]) -> MimeType:
    """Return the type that the fields of a part give."""
    text = _value(fields, b"content-type")
    if not text:
        return MimeType("text/plain", {})
    kind, _, rest = text.partition(";")
    found = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
        for name, quoted, plain in _PARAMETER.findall(f";{rest}")
    }
    return MimeType(kind.strip().lower(), found)


def _value(fields: list[bytes], name: bytes) -> str:
    for each in fields:
        if name_of(each) == name and len(each) <= _LONGEST_FIELD:
            return body_of(each).decode("ascii", "replace").strip()
    return ""


def readable_parts(fields: list[bytes], file: BinaryIO, body: int) -> list[MimePart]:
    """Return the parts that readers see: the first text, with its alternatives.

    ``fields`` are those of the message, whose body begins at ``body``.

    Raises:
        SealedMessage: the message is signed or encrypted.
        OSError: the system's fault.

    """
    scan = _Scan(file)
    file.seek(body)
    scan.begin(MimePart(fields, 0, body))
    return scan.run(body)


@dataclass(slots=True)
class _Multipart:
    delimiter: bytes
    alternative: bool


@dataclass(slots=True)
class _Scan:
    file: BinaryIO
    stack: list[_Multipart] = field(default_factory=list[_Multipart])
    parts: list[MimePart] = field(default_factory=list[MimePart])
    current: MimePart | None = None
    count: int = 0

    def begin(self, part: MimePart) -> None:
        """Take up a part: enter a multipart, or wait for the end of another one."""
        self.count += 1
        kind, parameters = part.type
        if kind in _SEALED:
            raise SealedMessage
        boundary = parameters.get("boundary", "")
        if kind.startswith("multipart/") and boundary and len(self.stack) < _MOST_DEPTH:
            delimiter = b"--" + boundary.encode("ascii", "replace")
            self.stack.append(_Multipart(delimiter, kind == "multipart/alternative"))
        elif part.readable:
            self.current = part

    def run(self, offset: int) -> list[MimePart]:
        """Read lines to the end, or until there is nothing more to find."""
        before, whole = offset, True
        while line := self.file.readline(_LINE):
            start, offset = offset, offset + len(line)
            if whole and line.startswith(b"-"):
                if line.startswith(_PGP) and self.current is not None:
                    raise SealedMessage
                found = self._delimiter(line)
                if found is not None:
                    self._end(before)
                    offset = self._go_on(*found, offset)
                    if offset < 0:
                        return self.parts
            elif not self.stack and self.current is None:
                break
            whole = line.endswith(b"\n")
            ending = 2 if line.endswith(b"\r\n") else int(whole)
            before = max(offset - ending, start) if whole else offset
        self._end(offset)
        return self.parts

    def _delimiter(self, line: bytes) -> tuple[int, bool] | None:
        """Return the level of the multipart that a line delimits, and whether it closes it."""
        text = line.rstrip(b" \t\r\n")
        for level in range(len(self.stack) - 1, -1, -1):
            delimiter = self.stack[level].delimiter
            if text == delimiter:
                return level, False
            if text == delimiter + b"--":
                return level, True
        return None

    def _end(self, end: int) -> None:
        if self.current is not None:
            self.current.end = max(end, self.current.body)
            self.parts.append(self.current)
            self.current = None

    def _go_on(self, level: int, closes: bool, offset: int) -> int:  # noqa: FBT001
        """Go on behind a delimiter; return the new offset, or -1 if nothing is left to find."""
        del self.stack[level + (not closes) :]
        enough = bool(self.parts) and not any(each.alternative for each in self.stack)
        many = len(self.parts) >= _MOST_READABLE or self.count >= _MOST_PARTS
        if enough or many or not self.stack:
            return -1
        if closes:
            return offset
        part = self._header(offset)
        if part is None:
            return -1
        self.begin(part)
        return part.body

    def _header(self, start: int) -> MimePart | None:
        """Read the header of a part; None: it is too long."""
        lines, end = list[bytes](), start
        while line := self.file.readline(_LINE):
            if not (_FIELD.match(line) or (lines and line.startswith((b" ", b"\t")))):
                break
            end += len(line)
            if end - start > _LONGEST_HEADER:
                return None
            if line.startswith((b" ", b"\t")):
                lines[-1] += line
            else:
                lines.append(line)
        if line.strip(b"\r\n"):
            self.file.seek(end)  # A body without an empty line, or the next delimiter.
            return MimePart(lines, start, end)
        return MimePart(lines, start, end + len(line))
