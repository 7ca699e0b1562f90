"""Replies read from the octets of a server, strictly where it matters (RFC 5321 section 4.2).

Tolerated, because servers in the field do it: bare LF, no text, 8-bit text, NUL. Not tolerated,
because it leaves open what was answered: differing codes in one reply, a line without a code, a reply
without an end.
"""

import re

from emailrelay.errors import RelayError

_LINE = re.compile(rb"[2-5][0-9]{2}(?:[ -]|\Z)")

LONGEST_REPLY = 65536
"""Octets of one reply with all its lines; real EHLO replies have a few thousand at most."""


class ReplyGarbled(RelayError):
    """The octets are no SMTP reply; the text says why."""


class ReplyReader:
    """Takes octets as they come and gives whole replies, in time linear in the octets."""

    __slots__ = ("_buffer", "_code", "_lines", "_size")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code: int | None = None
        self._lines: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Add octets; those beyond any reasonable reply are only counted, not kept."""
        self._size += len(data)
        if self._size <= LONGEST_REPLY:
            self._buffer += data

    @property
    def empty(self) -> bool:
        """Whether every octet so far belonged to a reply that was taken."""
        return self._size == 0

    def take(self) -> tuple[int, str] | None:
        """Take the next whole reply: its code, and its lines one a line of text; None: not there yet.

        Raises:
            ReplyGarbled: there can be no reply any more; the connection is of no use.

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
        """Add a line to the reply being read; tell whether it is the last one."""
        if not _LINE.match(line):
            raise ReplyGarbled(f'no SMTP reply: "{line[:80].decode("ascii", "replace")}"')
        code = int(line[:3])
        if self._code not in {None, code}:
            raise ReplyGarbled(f"one reply with two codes: {self._code} and {code}")
        self._code = code
        self._lines.append(line[4:].decode("utf-8", "replace").strip())
        return not line.startswith(b"-", 3)
