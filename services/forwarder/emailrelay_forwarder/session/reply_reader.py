"""Reads replies from the octets of a server, strictly where it matters (RFC 5321 section 4.2).

Accepted, because servers in use do it: bare LF, no text, 8-bit text, NUL. Refused, because the
meaning is uncertain: different codes in one reply, a line without a code, a reply without an end.
"""

import re

from emailrelay.errors import RelayError

_LINE = re.compile(rb"[2-5][0-9]{2}(?:[ -]|\Z)")

LONGEST_REPLY = 65536
"""Octets of one reply with all its lines; real EHLO replies have a few thousand at most."""


class ReplyGarbled(RelayError):
    """The octets are no SMTP reply; the text says why."""


class ReplyReader:
    """Takes octets in any pieces and returns whole replies, in linear time."""

    __slots__ = ("_buffer", "_code", "_lines", "_size")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code: int | None = None
        self._lines: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Add octets; those beyond ``LONGEST_REPLY`` are counted but not kept."""
        self._size += len(data)
        if self._size <= LONGEST_REPLY:
            self._buffer += data

    @property
    def empty(self) -> bool:
        """True if every octet so far belonged to a reply that was taken."""
        return self._size == 0

    def take(self) -> tuple[int, str] | None:
        """Take the next whole reply: its code, and its lines joined by LF; None: none is complete.

        Raises:
            ReplyGarbled: the octets are no reply; the connection cannot be used.

        """
        if self._size > LONGEST_REPLY:
            raise ReplyGarbled(f"a reply longer than {LONGEST_REPLY} octets")
        while (end := self._buffer.find(b"\n")) >= 0:
            line = self._buffer[:end].rstrip(b"\r")
            del self._buffer[: end + 1]
            if self._last(line):
                code, text = self._code or 0, "\n".join(self._lines)
                self._code, self._lines, self._size = None, [], len(self._buffer)
                return code, text
        return None

    def _last(self, line: bytearray) -> bool:
        """Add a line to the current reply; return whether it is the last one."""
        if not _LINE.match(line):
            raise ReplyGarbled(f'no SMTP reply: "{line[:80].decode("ascii", "replace")}"')
        code = int(line[:3])
        if self._code not in {None, code}:
            raise ReplyGarbled(f"one reply with two codes: {self._code} and {code}")
        self._code = code
        self._lines.append(line[4:].decode("utf-8", "replace").strip())
        return not line.startswith(b"-", 3)
