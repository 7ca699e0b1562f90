"""The meaning of a filter's exit code and output, by the table of ``docs/filters.md``."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple, TypeAlias

from emailrelay.envelope import Address
from emailrelay.reply import Reply, one_line

CAPTURED = 64 * 1024
"""The octets of a program's output that are read."""
DEFAULT_TEXT = "rejected"
HELD_BACK = Reply(452, "4.3.0 cannot process this message now")
"""The reply for the peer if a filter fails; the log has the reason."""

_MARKED = re.compile(r"<<(.*?)>>|\[\[(.*?)\]\]")
_CODED = re.compile(r"([45][0-9][0-9])(?![0-9A-Za-z.])[ \t]*(.*)")
_CLIENT_REJECTION = 550


class RefusedRecipient(NamedTuple):
    """A recipient that a filter refused for good, while it let the message go on to others."""

    address: Address
    reply: Reply
    filter: str
    """The spec of the filter."""
    local: bool = False
    """True if it is a mailbox of this host."""


class Side(Enum):
    """The column of the table."""

    SERVER = "server"
    """``--filter``, run by filterd between reception and forwarding."""
    CLIENT = "client"
    """``--client-filter``, run by the forwarder before each attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Requests:
    """The requests that a filter makes with any verdict."""

    rescan: bool = False
    """The filter asks to scan the spool again."""
    stop_run: bool = False
    """The single pass ends after this message."""
    refused: tuple[RefusedRecipient, ...] = ()
    """Recipients that do not get the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept(_Requests):
    """Continue with the message as the filter left it."""

    quarantine: str | None = None
    """The filter and its reason to hold the message when it has passed the chain; or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject(_Requests):
    """Refuse the message: ``reply`` for the peer or the sender, ``reason`` for log and envelope."""

    reply: Reply
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon(_Requests):
    """Drop the message, and answer 250 for it (server filters only)."""

    delivered: bool = False
    """True: it is not lost, since the filter has delivered it to mailboxes of this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip(_Requests):
    """Leave the message in the queue (client filters only)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenFilter(_Requests):
    """The filter failed: the message waits and is tried again."""

    reason: str
    reply: Reply = HELD_BACK
    bug: str = ""
    """The traceback of an error in this program, for the log, if that was it."""


Verdict: TypeAlias = Accept | Reject | Abandon | Skip | BrokenFilter


@dataclass(frozen=True, slots=True)
class Spoken:
    """A chain's verdict, and the spec of the filter that gave it (empty for an empty chain)."""

    verdict: Verdict
    filter: str


def from_exit_code(code: int, output: bytes, side: Side) -> Verdict:
    """Return the verdict of a program with this exit code (0-255) and standard output."""
    return _server(code, output) if side is Side.SERVER else _client(code, output)


def from_line(line: str, side: Side) -> Verdict:
    """Return the verdict of a network filter that answered ``line``: text, tab, reason."""
    if not line or line.lower().startswith("ok"):
        return Accept()
    text, _, reason = line.partition("\t")
    reply = _reply(text)
    return rejection(reply, one_line(reason) or "the filter said so", side)


def rejection(reply: Reply, reason: str, side: Side) -> Reject:
    """Refuse a message with the reply of this side."""
    return Reject(reply=reply if side is Side.SERVER else _of_client(reply), reason=reason)


def _of_client(reply: Reply) -> Reply:
    return Reply(_CLIENT_REJECTION, reply.text)


def _server(code: int, output: bytes) -> Verdict:
    match code:
        case 0 | 101:
            return Accept()
        case 100:
            return Abandon()
        case 102:
            return Abandon(rescan=True)
        case 103:
            return Accept(rescan=True)
        case _:
            return replace(_rejection(code, output), rescan=code == 104)


def _client(code: int, output: bytes) -> Verdict:
    match code:
        case 0 | 101 | 103:
            return Accept()
        case 100:
            return Skip()
        case 102:
            return Accept(stop_run=True)
        case 104:
            return Skip(stop_run=True)
        case _:
            rejection = _rejection(code, output)
            return replace(rejection, reply=_of_client(rejection.reply), stop_run=code == 105)


def _rejection(code: int, output: bytes) -> Reject:
    texts = _marked_texts(output[:CAPTURED])
    reply = _reply(next(texts, ""))
    reason = one_line(next(texts, ""))
    return Reject(reply=reply, reason=reason or f"exit code {code}")


def _marked_texts(output: bytes) -> Iterator[str]:
    """Yield the texts of lines that begin with ``<<`` or ``[[`` and have the matching end."""
    for line in output.split(b"\n"):
        if line.startswith((b"<<", b"[[")):
            match = _MARKED.match(line.decode(errors="replace"))
            if match is not None:
                yield match[1] if match[1] is not None else match[2]


def _reply(text: str) -> Reply:
    line = one_line(text)
    coded = _CODED.fullmatch(line)
    code, words = (int(coded[1]), coded[2]) if coded else (HELD_BACK.code, line)
    # A reply's text is ASCII (RFC 5321 section 4.2), also if the program's locale is not.
    return Reply.of(code, words.encode("ascii", "replace").decode() or DEFAULT_TEXT)
