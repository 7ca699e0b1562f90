"""An SMTP reply: three digits and a text (RFC 5321 section 4.2)."""

import re
from typing import NamedTuple, Self

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_CODED = re.compile(r"([2-5][0-9][0-9])(?![0-9])[ \t]*(.*)", re.DOTALL)
LONGEST_TEXT = 480
"""Octets of text kept: a reply line holds 512 octets with its code and CRLF (RFC 5321 4.5.3.1.5)."""


class Reply(NamedTuple):
    """What an SMTP server answered, or what we answer for it.

    ``text`` is one line without control characters, an enhanced status code (RFC 3463) in front of it
    where there is one. Several lines of a peer's reply are joined by a blank.
    """

    code: int
    text: str

    @classmethod
    def of(cls, code: int, text: str) -> Self:
        """Make a reply of a peer's or a program's words: control characters out, length bounded."""
        return cls(code, one_line(text))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read ``"550 5.1.1 no such user"`` back.

        Raises:
            ValueError: the line does not begin with a reply code.

        """
        match = _CODED.fullmatch(line)
        if match is None:
            raise ValueError(line)
        return cls.of(int(match[1]), match[2])

    def __str__(self) -> str:
        """Give the reply as it stands on the wire, without CRLF."""
        return f"{self.code} {self.text}" if self.text else str(self.code)

    @property
    def accepted(self) -> bool:
        """Whether the peer has taken responsibility: any 2yz, the first digit decides (RFC 5321 4.3.2)."""
        return 200 <= self.code <= 299

    @property
    def permanent(self) -> bool:
        """Whether trying the same again is useless: 5yz."""
        return 500 <= self.code <= 599


def one_line(text: str) -> str:
    """Give ``text`` as one bounded line that is safe in a reply, a log or an envelope."""
    if text.isascii() and text.isprintable() and len(text) <= LONGEST_TEXT:
        return text.strip()  # so are nearly all, and four of them come with each message
    octets = _CONTROL.sub(" ", text).strip().encode()
    return octets[:LONGEST_TEXT].decode(errors="ignore").rstrip()
