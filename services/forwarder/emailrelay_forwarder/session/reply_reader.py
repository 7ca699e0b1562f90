"""Reads replies from the octets of a server, strictly where it matters (RFC 5321 section 4.2).

Accepted, because servers in use do it: bare LF, no text, 8-bit text, NUL. Refused, because the
meaning is uncertain: different codes in one reply, a line without a code, a reply without an end.
"""

import re

from emailrelay.errors import RelayError

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\n]*)|\r*)\n")
"""A whole line: its code, the sign after it, and its text, perhaps with CR."""

LONGEST_REPLY = 65536
"""Octets of one reply with all its lines; real EHLO replies have a few thousand at most."""


class ReplyGarbled(RelayError):
    """The octets are no SMTP reply; the text says why."""


class ReplyReader:
    """Takes octets in any pieces and returns whole replies, in linear time."""

    __slots__ = ("_buffer", "_code", "_lines", "waiting")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code = 0
        """The code of the reply whose first lines have been read; 0: there is none."""
        self._lines: list[str] = []
        self.waiting = 0
        """The number of octets so far that belong to no reply that was taken."""

    def feed(self, data: bytes) -> None:
        """Add octets; those beyond ``LONGEST_REPLY`` are counted but not kept."""
        self.waiting += len(data)
        if self.waiting <= LONGEST_REPLY:
            self._buffer += data

    def take(self) -> tuple[int, str] | None:
        """Take the next whole reply: its code, and its lines joined by LF; None: none is complete.

        Raises:
            ReplyGarbled: the octets are no reply; the connection cannot be used.

        """
        if self.waiting > LONGEST_REPLY:
            raise ReplyGarbled(f"a reply longer than {LONGEST_REPLY} octets")
        while b"\n" in self._buffer:
            line = _LINE.match(self._buffer)
            if line is None:
                start = self._buffer[: self._buffer.find(b"\n")].rstrip(b"\r")[:80]
                raise ReplyGarbled(f'no SMTP reply: "{start.decode("ascii", "replace")}"')
            digits, sign, text = line.groups(b"")
            del self._buffer[: line.end()]
            code = int(digits)
            if self._code not in (0, code):
                raise ReplyGarbled(f"one reply with two codes: {self._code} and {code}")
            said = text.decode("utf-8", "replace").strip()
            if sign == b"-":
                self._code = code
                self._lines.append(said)
                continue
            if self._lines:
                said = "\n".join([*self._lines, said])
                self._lines, self._code = [], 0
            self.waiting = len(self._buffer)
            return code, said
        return None
