"""The answer of an address verifier, read from its exit code and output, or from a line.

See ``docs/address-verifiers.md``. The programs and services are written by others.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from emailrelay.envelope import Address
from emailrelay.reply import Reply, one_line

AS_GIVEN = Address("")
_STATUS = re.compile(r"([45])\.[0-9]{1,3}\.[0-9]{1,3}(?= |\Z)")
_CODED = re.compile(r"([45][0-9][0-9])(?![0-9]) *(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Local:
    """A mailbox of this host; an empty one stands for the recipient as the client gave it."""

    mailbox: Address = AS_GIVEN
    name: str = ""


@dataclass(frozen=True, slots=True)
class Remote:
    """To be forwarded, to this address; empty: as the client gave it."""

    address: Address = AS_GIVEN
    diagnostic: str = ""
    """The reason why the next server could not be asked."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """To be refused with ``reply``; ``diagnostic`` goes to the log."""

    reply: Reply
    diagnostic: str = ""


@dataclass(frozen=True, slots=True)
class Drop:
    """Drop the connection without a reply."""


VerifierAnswer: TypeAlias = Local | Remote | Unknown | Drop


def from_exit(code: int, output: bytes) -> VerifierAnswer:
    """Read the exit code and the first two lines of the output of a program."""
    lines = [one_line(line.decode(errors="replace")) for line in output.split(b"\n")[:2]]
    first, second = [*lines, "", ""][:2]
    match code:
        case 0:
            return Local(Address(second), first)
        case 1:
            return Remote(Address(second))
        case 3:
            return Unknown(_reply(450, "4.2.0", first))
        case 100:
            return Drop()
        case _:
            return Unknown(_reply(550, "5.1.1", first))


def from_line(line: bytes) -> VerifierAnswer | None:
    """Read the answer of a network verifier; None: it is malformed."""
    words = [one_line(word) for word in line.decode(errors="replace").split("|", 2)]
    first, second, third = [*words, "", "", ""][:3]
    match first:
        case "0":
            return Local(Address(second), third)
        case "1":
            return Remote(Address(second), third)
        case "2":
            return Unknown(_reply(550, "5.1.1", second), third)
        case "3":
            return Unknown(_reply(450, "4.2.0", second), third)
        case "100":
            return Drop()
        case _:
            return None


def fits(text: str) -> bool:
    """Return whether a field of a question can hold this text as it is."""
    return "|" not in text and one_line(text) == text


def question(fields: tuple[str, ...]) -> bytes:
    """Write the question to a network verifier: no field can end another or the line."""
    return "|".join(one_line(text).replace("|", "?") for text in fields).encode() + b"\n"


def _reply(code: int, status: str, text: str) -> Reply:
    """Make a reply of a verifier's text, which can begin with codes of its own (RFC 3463)."""
    if match := _CODED.fullmatch(text):
        code, text = int(match[1]), match[2]
        status = "5.1.1" if match[1][0] == "5" else "4.2.0"
    own = _STATUS.match(text)
    if own is not None and own[1] == str(code)[0]:
        return Reply.of(code, text)
    return Reply.of(code, f"{status} {text or 'mailbox unavailable'}")
