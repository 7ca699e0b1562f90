"""Reads replies from the octets of a server, strictly where it matters (RFC 5321 section 4.2).

Accepted, because servers in use do it: bare LF, no text, 8-bit text, NUL. Refused, because the
meaning is uncertain: different codes in one reply, a line without a code, a reply without an end.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from emailrelay.errors import RelayError

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\n]*)|\r*)\n")
"""A whole line: its code, the sign after it, and its text, perhaps with CR."""

LONGEST_REPLY = 65536
"""Octets of one reply with all its lines; real EHLO replies have a few thousand at most."""
MOST_WAITING = 16 * LONGEST_REPLY
"""Octets of all replies that are not taken yet: those to pipelined commands arrive together."""
_SHORT = 100
"""Octets of the longest line whose parts are kept: servers repeat most of their short lines."""


class RawReply(NamedTuple):
    """A reply as received."""

    code: int
    message: str
    """Its lines, joined by LF."""

    def __str__(self) -> str:
        """Write code and text."""
        return f"{self.code} {self.message}"


class ReplyGarbled(RelayError):
    """The octets are no SMTP reply; the text says why."""


class ReplyReader:
    """Takes octets in any pieces and returns whole replies, in linear time."""

    __slots__ = ("_buffer", "_code", "_lines", "_read", "waiting")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code = 0
        """The code of the reply whose first lines have been read; 0: there is none."""
        self._lines: list[str] = []
        self._read = 0
        """The octets of those lines."""
        self.waiting = 0
        """The number of octets so far that belong to no reply that was taken."""

    def feed(self, data: bytes) -> None:
        """Add octets; if there are more than ``MOST_WAITING``, they are not kept."""
        self.waiting += len(data)
        if self.waiting <= MOST_WAITING:
            self._buffer += data

    def take(self) -> RawReply | None:
        """Take the next whole reply; None: none is complete.

        Raises:
            ReplyGarbled: the octets are not a reply; the connection cannot be used.

        """
        if self.waiting > MOST_WAITING:
            raise ReplyGarbled(f"replies of more than {MOST_WAITING} octets at once")
        while end := self._buffer.find(b"\n") + 1:
            if self._read + end > LONGEST_REPLY:
                break
            octets = bytes(self._buffer[:end])
            line, more = _known(octets) if end <= _SHORT else _read(octets)
            del self._buffer[:end]
            if self._code not in (0, line.code):
                raise ReplyGarbled(f"one reply with two codes: {self._code} and {line.code}")
            if more:
                self._code = line.code
                self._lines.append(line.message)
                self._read += end
                continue
            if self._lines:
                line = RawReply(line.code, "\n".join([*self._lines, line.message]))
                self._lines, self._code, self._read = [], 0, 0
            self.waiting = len(self._buffer)
            return line
        if self._read + len(self._buffer) > LONGEST_REPLY:
            raise ReplyGarbled(f"a reply longer than {LONGEST_REPLY} octets")
        return None


def _read(line: bytes) -> tuple[RawReply, bool]:
    """Read a line; True: it is not the last one of its reply."""
    found = _LINE.fullmatch(line)
    if found is None:
        start = line[:-1].rstrip(b"\r")[:80]
        raise ReplyGarbled(f'no SMTP reply: "{start.decode("ascii", "replace")}"')
    text = (found[3] or b"").decode("utf-8", "replace").strip()
    return RawReply(int(found[1]), text), found[2] == b"-"


_known = lru_cache(maxsize=256)(_read)
