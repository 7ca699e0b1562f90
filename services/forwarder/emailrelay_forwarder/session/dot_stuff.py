"""The encoding of content after DATA: CRLF line ends, doubled dots, and the final dot.

Filters may leave files with LF ends. The encoded text has no bare CR, no bare LF, no NUL and no
line of a single dot. So no server can see an end of the message before the final dot (RFC 5321
sections 2.3.8 and 4.5.2). NULs, which no legal message contains, are removed: some servers take a
NUL and a dot for a dot.
"""

import re

from emailrelay.line_ends import bare

_DOT_LINE = re.compile(rb"\n\.")
"""The beginning of a line with a dot. It is found sooner than by ``in``."""


class DotStuffer:
    """Encodes one message chunk by chunk; chunks may end within a line end."""

    __slots__ = ("_at_line_start", "_held_cr")

    def __init__(self) -> None:
        self._at_line_start = True
        self._held_cr = False

    def feed(self, chunk: bytes) -> bytes:
        """Return the octets to send for ``chunk``; a CR at its end waits for the next chunk."""
        if b"\0" in chunk:
            chunk = chunk.replace(b"\0", b"")
        if self._held_cr:
            chunk = b"\r" + chunk
        self._held_cr = chunk.endswith(b"\r")
        if self._held_cr:
            chunk = chunk[:-1]
        return self._stuffed(_with_crlf(chunk)) if chunk else b""

    def finish(self) -> bytes:
        """Return the octets that end the message: the missing end of a line, and the final dot."""
        unfinished_line = self._held_cr or not self._at_line_start
        return b"\r\n.\r\n" if unfinished_line else b".\r\n"

    def _stuffed(self, lines: bytes) -> bytes:
        # The search for one octet is much faster than that for two, and base64 has no dots.
        if b"." in lines and _DOT_LINE.search(lines):
            lines = lines.replace(b"\r\n.", b"\r\n..")
        if self._at_line_start and lines.startswith(b"."):
            lines = b"." + lines
        self._at_line_start = lines.endswith(b"\n")
        return lines


def _with_crlf(text: bytes) -> bytes:
    """Replace each bare CR and bare LF by CRLF."""
    if not any(bare(text)):
        return text
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
