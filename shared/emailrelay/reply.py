"""An SMTP reply: three digits and a text (RFC 5321 section 4.2)."""

import re
from typing import NamedTuple, Self

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_CODED = re.compile(r"([2-5][0-9][0-9])(?![0-9])[ \t]*(.*)", re.DOTALL)
LONGEST_TEXT = 480
"""The most octets of text: a reply line has 512 with code and CRLF (RFC 5321 4.5.3.1.5)."""


class Reply(NamedTuple):
    """The answer of an SMTP server, or of this relay in its place.

    ``text`` is one line without control characters, after an enhanced status code (RFC 3463) if
    there is one. Several lines of a peer's reply are joined by a blank.
    """

    code: int
    text: str

    @classmethod
    def of(cls, code: int, text: str) -> Self:
        """Return a reply with the text of a peer or a program.

        No control characters, bounded length.
        """
        return cls(code, one_line(text))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line like ``"550 5.1.1 no such user"``.

        Raises:
            ValueError: the line does not begin with a reply code.

        """
        match = _CODED.fullmatch(line)
        if match is None:
            raise ValueError(line)
        return cls.of(int(match[1]), match[2])

    def __str__(self) -> str:
        """Write the reply line, without CRLF."""
        return f"{self.code} {self.text}" if self.text else str(self.code)

    @property
    def accepted(self) -> bool:
        """True if the peer has accepted: any 2yz, the first digit decides (RFC 5321 4.3.2)."""
        return 200 <= self.code <= 299

    @property
    def permanent(self) -> bool:
        """True if another try is useless: 5yz."""
        return 500 <= self.code <= 599


def one_line(text: str) -> str:
    """Return ``text`` as one bounded line that is safe in a reply, a log or an envelope."""
    if text.isascii() and text.isprintable() and len(text) <= LONGEST_TEXT:
        return text.strip()  # as in nearly all of the four replies for each message
    octets = _CONTROL.sub(" ", text).strip().encode()
    return octets[:LONGEST_TEXT].decode(errors="ignore").rstrip()
