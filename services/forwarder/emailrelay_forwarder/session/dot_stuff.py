"""Content as it goes over the wire after DATA: CRLF line ends, dots doubled, and the final dot.

Whatever the spool holds (filters write LF files), no bare CR, no bare LF, no NUL and no single dot on a
line of its own leaves here, so that no server can see the end of the message before its end (RFC 5321
sections 2.3.8 and 4.5.2). NULs, which are in no legal message, are left out: there are servers to which a
NUL and a dot are a dot.
"""

from emailrelay.line_ends import bare


class DotStuffer:
    """Encodes one message chunk by chunk; line ends and dots may be cut by the edges of chunks."""

    __slots__ = ("_at_line_start", "_held_cr")

    def __init__(self) -> None:
        self._at_line_start = True
        self._held_cr = False

    def feed(self, chunk: bytes) -> bytes:
        """Return the octets to send for ``chunk``; a CR at its end waits for what follows it."""
        if b"\0" in chunk:
            chunk = chunk.replace(b"\0", b"")
        if self._held_cr:
            chunk = b"\r" + chunk
        self._held_cr = chunk.endswith(b"\r")
        if self._held_cr:
            chunk = chunk[:-1]
        return self._stuffed(_with_crlf(chunk)) if chunk else b""

    def finish(self) -> bytes:
        """Return the octets that end the message: of its last line if need be, and the final dot."""
        unfinished_line = self._held_cr or not self._at_line_start
        return b"\r\n.\r\n" if unfinished_line else b".\r\n"

    def _stuffed(self, lines: bytes) -> bytes:
        # A dot is found at once, or found not to be there, as in base64; a row of octets takes its time.
        if b"." in lines and b"\r\n." in lines:
            lines = lines.replace(b"\r\n.", b"\r\n..")
        if self._at_line_start and lines.startswith(b"."):
            lines = b"." + lines
        self._at_line_start = lines.endswith(b"\n")
        return lines


def _with_crlf(text: bytes) -> bytes:
    """Make CRLF of every CRLF, lone CR and lone LF."""
    if not any(bare(text)):
        return text
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
