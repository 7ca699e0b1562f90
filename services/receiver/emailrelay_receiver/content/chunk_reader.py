"""The content of a message as BDAT carries it (RFC 3030), made as clean as that of DATA.

Guarantee: returned content holds no bare LF and, unless ``stray`` says so, no bare CR and no NUL,
however the octets were cut.
"""

from emailrelay.line_ends import bare


class ChunkReader:
    """Finds the end of each chunk and octets that are refused; mends bare LFs."""

    def __init__(self) -> None:
        self.stray = False
        """A bare CR or a NUL was seen: the message is to be refused."""
        self.left = 0
        """Octets of the chunk that are still to come."""
        self.rest: bytes | None = b""
        """The octets after the chunk, which are commands; None: it is not at its end."""
        self._held = b""

    def begin(self, size: int) -> None:
        """Begin a chunk of so many octets."""
        self.left = size
        self.rest = None if size else b""

    def feed(self, octets: bytes | memoryview) -> bytes:
        """Take the next octets as they arrived and return the content that is certain by now."""
        data = self._held + self.split(octets)
        # A CR at the end may have its LF in the next piece.
        self._held = b"\r" if data.endswith(b"\r") else b""
        data = data.removesuffix(b"\r")
        alone = bare(data)
        if alone.cr or b"\0" in data:
            self.stray = True
        if alone.lf:
            data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return data

    def split(self, octets: bytes | memoryview) -> bytes | memoryview:
        """Return those of the next octets that belong to the chunk, as they are."""
        ours = octets[: self.left]
        self.left -= len(ours)
        if not self.left:
            self.rest = bytes(octets[len(ours) :])
        return ours

    def end(self) -> None:
        """Note that no further chunk follows."""
        self.stray = self.stray or bool(self._held)
