"""The form in which the forwarder sends a content: CRLF line ends, no NUL, and a last line end.

A signature holds only for the octets that go out, so a content gets this form before it is signed.
"""

from emailrelay.line_ends import bare


class SentForm:
    """Brings one content into the form, chunk by chunk; chunks may end within a line end."""

    __slots__ = ("_held_cr", "_last", "changed")

    def __init__(self) -> None:
        self.changed = False
        """True once the result differs from what was fed."""
        self._held_cr = False
        self._last = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return the octets for ``chunk``; a CR at its end waits for the next chunk."""
        if b"\0" in chunk:
            chunk, self.changed = chunk.replace(b"\0", b""), True
        if self._held_cr:
            chunk = b"\r" + chunk
        self._held_cr = chunk.endswith(b"\r")
        if self._held_cr:
            chunk = chunk[:-1]
        if any(bare(chunk)):
            self.changed = True
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        self._last = chunk[-1:] or self._last
        return chunk

    def finish(self) -> bytes:
        """Return the octets that end the content: the missing end of its last line."""
        if not self._held_cr and self._last in {b"\n", b""}:
            return b""
        self.changed = True
        return b"\r\n"
