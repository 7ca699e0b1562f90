"""The requirements on a receiver for any input."""

import re
from collections.abc import Sequence

from emailrelay import envelope_format
from emailrelay.envelope import Envelope
from emailrelay.stage import Stage

_REPLY = re.compile(rb"(?:[2-5]\d\d-[ -~]*\r\n)*[2-5]\d\d [ -~]*\r\n")
_LONGEST_REPLY = 512
_DATA = re.compile(rb"DATA[ \t]*\r?\n", re.IGNORECASE)
_DOT = re.compile(rb"(?<=\r\n)\.\r\n")
_LAST = re.compile(rb"BDAT[ \t]+\d+[ \t]+LAST", re.IGNORECASE)
_QUEUED = re.compile(rb"250 2\.0\.0 Ok: queued as [0-9.]+\r\n")
_VARIES = re.compile(
    rb"(?<=queued as )[0-9.]+|(?<=334 )[^\r]*"
    # Of several faults of a content, the receiver reports the first it saw.
    rb"|550 5\.6\.0 bare[^\r]*|552 5\.3\.4 [^\r]*|554 5\.4\.6 [^\r]*"
)


class Wrong(AssertionError):
    """The receiver did something forbidden."""


def messages_at_most(octets: bytes) -> int:
    """Give the possible numbers of messages in octets from a client, for any reader."""
    # A bare LF may end the command line, and the end of the content may follow at once.
    return len(_DOT.findall(_DATA.sub(b"DATA\r\n", octets))) + len(_LAST.findall(octets))


def replies(said: bytes) -> list[bytes]:
    """Split the receiver's output into replies."""
    found, at = list[bytes](), 0
    while at < len(said):
        match = _REPLY.match(said, at)
        if match is None:
            raise Wrong(f"no reply: {said[at : at + 200]!r}")
        found.append(match.group())
        at = match.end()
        if max(map(len, match.group().splitlines(keepends=True))) > _LONGEST_REPLY:
            raise Wrong(f"a reply beyond {_LONGEST_REPLY} octets: {match.group()!r}")
    return found


def queued(said: Sequence[bytes]) -> int:
    """Give how many messages the receiver said it has taken."""
    return sum(_QUEUED.fullmatch(reply) is not None for reply in said)


def judge_message(stage: Stage, envelope: Envelope, content: bytes) -> None:
    """Look at a message that was taken."""
    if stage is not Stage.READY:
        raise Wrong(f"a message in stage {stage}")
    if not envelope.recipients:
        raise Wrong("a message to nobody")
    if envelope_format.parse(envelope_format.write(envelope)).envelope != envelope:
        raise Wrong(f"an envelope that is read otherwise than it was written: {envelope}")
    if not content.startswith(b"Received: from ") or b"\0" in content:
        raise Wrong(f"content that begins with {content[:80]!r}, or holds a NUL")
    lines = content.count(b"\r\n")
    if content.count(b"\r") != lines or content.count(b"\n") != lines:
        raise Wrong("content with a bare CR or LF")


def judge_difference(one: bytes, other: bytes, *, cut_off: bool) -> None:
    """Compare the replies to the same octets in different pieces. ``cut_off``: not to the end."""
    one, other = _VARIES.sub(b"", one), _VARIES.sub(b"", other)
    if cut_off:
        least = min(len(one), len(other))
        one, other = one[:least], other[:least]
    if one != other:
        raise Wrong(f"pieces make a difference:\n{one!r}\n{other!r}")
