"""Finds octets beyond ASCII in the header of a message or of a MIME part (RFC 6532)."""

import re
from collections.abc import AsyncIterator

LONGEST_LINE = 1 << 16
"""Octets of an unfinished header line that are kept."""
LONGEST_FIELD = 1 << 12
"""Octets of a Content-Type field that are read."""
MOST_BOUNDARIES = 1000
_LONGEST_DELIMITER = 200
"""Octets: a boundary has 70 at most, and blanks may follow it (RFC 2046 section 5.1.1)."""

_TYPE = re.compile(rb"content-type[ \t]*:[ \t]*([^;\s]*)", re.IGNORECASE)
_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_MESSAGES = {b"message/rfc822", b"message/global"}
"""Parts that begin with a header of their own."""


async def beyond_ascii(content: AsyncIterator[bytes]) -> bool:
    """Read a message as far as needed, and tell whether any header in it is beyond ASCII.

    Raises:
        StoreError: as ``content`` does.

    """
    scan = HeaderScan()
    async for chunk in content:
        scan.feed(chunk)
        if scan.found or scan.over:
            return scan.found
    scan.finish()
    return scan.found


class HeaderScan:
    """Takes a message chunk by chunk; keeps at most one line, and skips bodies in one step."""

    __slots__ = ("_at", "_boundaries", "_buffer", "_field", "_in_header", "_message", "found")

    def __init__(self) -> None:
        self.found = False
        """True if a header with octets beyond ASCII was seen."""
        self._in_header = True
        self._message = False
        """True if the body of this part is a message, and begins with a header."""
        self._boundaries: set[bytes] = set()
        self._buffer = b""
        self._at = 0
        """Place in the buffer of the first octet not parsed yet. In a body it is the end of a line,
        or within one."""
        self._field = b""
        """The Content-Type field so far; more lines of it may follow."""

    @property
    def over(self) -> bool:
        """True if no further header can come."""
        return not (self._in_header or self._boundaries)

    @property
    def held(self) -> int:
        """The octets that are kept now."""
        return len(self._buffer) - self._at + len(self._field)

    def feed(self, chunk: bytes) -> None:
        """Take the next octets."""
        # One copy for each chunk: a copy for each line takes too long if lines are short.
        self._buffer, self._at = self._buffer[self._at :] + chunk, 0
        while not (self.found or self.over) and self._advance():
            pass

    def finish(self) -> None:
        """Note that there are no more octets."""
        if self._in_header:
            self.found = self.found or not self._buffer[self._at :].isascii()

    def _advance(self) -> bool:
        """Parse the next piece; False: this needs more octets."""
        return self._header_line() if self._in_header else self._body()

    def _header_line(self) -> bool:
        end = self._buffer.find(b"\n", self._at)
        if end < 0 and len(self._buffer) - self._at < LONGEST_LINE:
            return False
        line = self._buffer[self._at : end if end >= 0 else None]
        self._at = end + 1 if end >= 0 else len(self._buffer)
        self.found = self.found or not line.isascii()
        if not line.startswith((b" ", b"\t")):
            if self._field:
                self._note_type()
            self._field = line if _TYPE.match(line) else b""
        elif self._field and len(self._field) < LONGEST_FIELD:
            self._field += line
        if end >= 0 and not line.rstrip(b"\r"):
            self._in_header, self._message = self._message, False
            if not self._in_header:
                self._at = end
        return end >= 0

    def _note_type(self) -> None:
        field = self._field.replace(b"\r", b"")
        if kind := _TYPE.match(field):
            self._message = kind[1].lower() in _MESSAGES
            boundary = _BOUNDARY.search(field)
            if boundary and len(self._boundaries) < MOST_BOUNDARIES:
                quoted = re.sub(rb"\\(.)", rb"\1", boundary[1] or b"")
                self._boundaries.add(quoted or boundary[2] or b"")

    def _body(self) -> bool:
        """Skip the body up to the next delimiter of a part."""
        size = len(self._buffer)
        at = self._buffer.find(b"\n--", self._at)
        if at < 0:
            self._at = max(self._at, size - 2)
            return False
        end = self._buffer.find(b"\n", at + 1)
        if end < 0:
            unfinished = size - at < _LONGEST_DELIMITER
            self._at = at if unfinished else at + 1
            return not unfinished
        line = self._buffer[at + 3 : end].rstrip(b" \t\r")
        self._in_header = line in self._boundaries
        self._at = end + 1 if self._in_header else end
        return True
