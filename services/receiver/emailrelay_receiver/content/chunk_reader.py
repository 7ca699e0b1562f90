"""The content of a message as BDAT carries it (RFC 3030), made as clean as that of DATA.

Guarantee: what is given holds no bare LF and, unless ``stray`` says so, no bare CR and no NUL, however
the octets were cut.
"""

from emailrelay.line_ends import bare


class ChunkReader:
    """Mends bare LFs and finds what is to be refused. There are no dots to be taken out."""

    def __init__(self) -> None:
        self.stray = False
        """A bare CR or a NUL has been seen: the message is to be refused."""
        self._held = b""

    def feed(self, chunk: bytes | memoryview) -> bytes:
        """Take the next octets as they came and give the content that is certain by now."""
        data = self._held + chunk
        # A CR at the end may have its LF in the next piece.
        self._held = b"\r" if data.endswith(b"\r") else b""
        data = data.removesuffix(b"\r")
        alone = bare(data)
        if alone.cr or b"\0" in data:
            self.stray = True
        if alone.lf:
            data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return data

    def end(self) -> None:
        """Note that nothing follows."""
        self.stray = self.stray or bool(self._held)
