"""Content as DATA carries it (RFC 5321 section 4.5.2), decoded in chunks of any size.

Guarantee: CRLF "." CRLF ends the content, and nothing else does, however the octets were cut.
Guarantee: returned content holds no bare LF and, unless ``stray`` says so, no bare CR and no NUL.

A bare LF becomes CRLF but ends no line of the protocol: a dot behind it is content. So this decoder
and every other server find the same end.
"""

from emailrelay.line_ends import bare

_END = b"\r\n.\r\n"
_DOTTED = b"\r\n."
_RECEIVED = b"\r\nreceived:"


class DotReader:
    """Finds the end of the content, and takes the transparency dots out."""

    def __init__(self) -> None:
        self.stray = False
        """A bare CR or a NUL was seen: the message is to be refused, after its real end."""
        self.rest: bytes | None = None
        """The octets after the end, which are commands; None: the end was not found yet."""
        # The start counts as the start of a line: as if a CRLF stood before it.
        self._held = b"\r\n"
        self._virtual = 2

    def feed(self, chunk: bytes | memoryview) -> bytes:
        """Take the next octets as they arrived and return the content that is certain by now."""
        data = self._held + chunk
        # Most contents have no line that begins with a dot before the end mark: then one search
        # finds the mark, and no dot is taken out. Base64 has no dots: one octet is found faster.
        first = data.find(_DOTTED) if b"." in data else -1
        if first < 0 or data.startswith(_END, first):
            end, dotted = first, False
        else:
            end, dotted = data.find(_END, first), True
        if end >= 0:
            self.rest = data[end + len(_END) :]
            self._held = b""
            body = data[: end + 2]
        else:
            # A possible beginning of the end waits for the next chunk.
            kept = _overlap(data)
            body, self._held = data[: len(data) - kept], data[len(data) - kept :]
        return self._decode(body, dotted=dotted)

    def _decode(self, body: bytes, *, dotted: bool) -> bytes:
        # Neither half of a CRLF is ever cut off from the other: a CR at the end of a chunk is held
        # back.
        alone = bare(body)
        if alone.cr or b"\0" in body:
            self.stray = True
        if dotted:
            # Each replacement begins at a CRLF of the original, so dots are taken out before LFs
            # are mended.
            body = body.replace(b"\r\n.", b"\r\n")
        if alone.lf:
            body = body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        if self._virtual and body:
            body, self._virtual = body[self._virtual :], 0
        return body


class HopCounter:
    """Counts the ``Received:`` lines of a header (RFC 5321 section 6.3)."""

    def __init__(self) -> None:
        self.hops = 0
        self._tail = b"\r\n"
        self._in_header = True

    def feed(self, content: bytes) -> None:
        """Take the next octets of decoded content."""
        if not self._in_header:
            return
        text = self._tail + content
        blank = text.find(b"\r\n\r\n")
        if blank >= 0:
            self._in_header = False
            text = text[: blank + 2]
        self.hops += text.lower().count(_RECEIVED)
        # One octet less than the word, so that none is counted twice and none is missed.
        self._tail = text[1 - len(_RECEIVED) :]


def _overlap(data: bytes) -> int:
    """Return how many octets at the end of ``data`` can be the beginning of the end mark."""
    for length in range(len(_END) - 1, 0, -1):
        if data.endswith(_END[:length]):
            return length
    return 0
