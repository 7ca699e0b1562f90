"""The mailboxes of an address list, by RFC 5322 sections 3.4 and 4.4.

This module does not use the standard library: in a list with a small mistake,
``email.utils.getaddresses`` finds different addresses in different versions of Python. A list is an
error if one of its addresses is uncertain. Mistakes that leave no doubt about an address are
accepted: empty elements, a semicolon as a separator, a group that is not closed, a dot in a name.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from emailrelay.errors import RelayError

_TOKEN = re.compile(
    # The alternatives begin with different characters, so that no input makes the match slow.
    r'(?P<space>[ \t\r\n]+)|(?P<word>[^\x00-\x20\x7f()<>\[\]:;@\\,."]+)'
    r'|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<literal>\[(?:[^\[\]\\]|\\.)*\])|(?P<special>[<>:;@,.])',
    re.DOTALL,
)
_COMMENT_PART = re.compile(r"[()]|\\.", re.DOTALL)
_SHOWN = 60


class AddressListError(RelayError):
    """An address of the list is uncertain; the text says where."""

    temporary = False


class Mailbox(NamedTuple):
    """An address in a list: its spelling in an envelope, and its position in the list's text."""

    local: str
    domain: str
    """Empty if the address has no domain."""
    start: int
    end: int

    @property
    def address(self) -> str:
        """Return the address without blanks and comments."""
        return f"{self.local}@{self.domain}" if self.domain else self.local


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


_Element = Sequence[_Token]


def mailboxes(text: str) -> list[Mailbox]:
    """Return the mailboxes of an address list in their order, including those in groups.

    Raises:
        AddressListError: the text is not an address list.

    """
    found: list[Mailbox] = []
    for element in _elements(list(_tokens(text)), text):
        try:
            found.append(_mailbox(element))
        except _NoMailbox as error:
            shown = text[element[0].start : element[-1].end]
            raise AddressListError(f"{_short(shown)!r}: {error}") from error
    return found


class _NoMailbox(Exception):
    """An element is not a mailbox; the text says why."""


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN]}..."


def _tokens(text: str) -> Iterator[_Token]:
    """Split a list into words, quoted strings, domain literals and special characters."""
    position = 0
    while position < len(text):
        if text[position] == "(":
            position = _after_comment(text, position)
            continue
        match = _TOKEN.match(text, position)
        if match is None:
            raise AddressListError(f"{_short(text[position:])!r}: {_wrong(text[position])}")
        if match.lastgroup and match.lastgroup != "space":
            yield _Token(match.lastgroup, match[0], position, match.end())
        position = match.end()


def _wrong(character: str) -> str:
    if character in '"[':
        return f"the {character} is not closed"
    return f"{character!r} is not allowed here"


def _after_comment(text: str, begin: int) -> int:
    """Return the position after a comment; comments nest (RFC 5322 section 3.2.2)."""
    depth = 0
    for match in _COMMENT_PART.finditer(text, begin):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    raise AddressListError(f"{_short(text[begin:])!r}: the ( is not closed")


def _elements(tokens: _Element, text: str) -> Iterator[_Element]:
    """Yield the elements that should be mailboxes: the list without commas and group names."""
    element: list[_Token] = []
    in_angles = in_group = False
    for token in tokens:
        if token.text == "<" or in_angles:
            in_angles = token.text != ">"
            element.append(token)
        elif token.text in (",", ";"):
            if element:
                yield element
            element = []
            in_group = in_group and token.text == ","
        elif token.text == ":":
            if in_group or not element or any(part.text in ("<", "@") for part in element):
                raise AddressListError(f"{_short(text[: token.end])!r}: ':' is not allowed here")
            element, in_group = [], True
        else:
            element.append(token)
    if in_angles:
        raise AddressListError(f"{_short(text[element[0].start :])!r}: the < is not closed")
    if element:
        yield element


def _mailbox(element: _Element) -> Mailbox:
    texts = [token.text for token in element]
    if "<" not in texts:
        return _addr_spec(element)
    opening = texts.index("<")
    name, inside = element[:opening], element[opening + 1 : -1]
    if ">" not in texts or texts.index(">") != len(texts) - 1 or "<" in texts[opening + 1 :]:
        raise _NoMailbox("a comma is missing after the >")
    found = _addr_spec(_without_route(inside))
    if any(other != found.address.lower() for other in _addresses_in(name)):
        raise _NoMailbox("it contains two different addresses")
    return found


def _addresses_in(name: _Element) -> Iterator[str]:
    """Yield the addresses in a name, in lower case: one may be a recipient without its comma.

    ``Bob @ Work`` has none, because programs write addresses without blanks. Outlook writes an
    address in single quotes as the name.
    """
    runs: list[list[_Token]] = []
    for token in name:
        if runs and runs[-1][-1].end == token.start:
            runs[-1].append(token)
        else:
            runs.append([token])
    for run in runs:
        with contextlib.suppress(_NoMailbox):
            found = _addr_spec(run)
            if found.domain:
                yield found.address.strip("'").lower()


def _without_route(inside: _Element) -> _Element:
    """Drop a source route, which a reader must ignore (RFC 5322 section 4.4)."""
    texts = [token.text for token in inside]
    return inside[texts.index(":") + 1 :] if texts[:1] == ["@"] and ":" in texts else inside


def _addr_spec(tokens: _Element) -> Mailbox:
    texts = [token.text for token in tokens]
    if not tokens:
        raise _NoMailbox("an empty address")
    at = texts.index("@") if "@" in texts else len(texts)
    local, domain = tokens[:at], tokens[at + 1 :]
    if at == len(texts) and (len(tokens) > 1 or tokens[0].kind == "quoted") and "." not in texts:
        raise _NoMailbox("a name without an address")
    if not _is_dotted(local, "quoted") or (at < len(texts) and not _is_domain(domain)):
        raise _NoMailbox("not an address")
    return Mailbox(_joined(local), _joined(domain), tokens[0].start, tokens[-1].end)


def _is_domain(tokens: _Element) -> bool:
    return _is_dotted(tokens, "word") or [token.kind for token in tokens] == ["literal"]


def _is_dotted(tokens: _Element, also: str) -> bool:
    """Tell whether these are words with dots between them; extra dots are in use and allowed."""
    return (
        any(token.text != "." for token in tokens)
        and all(token.kind in ("word", also) or token.text == "." for token in tokens)
        and all("." in (one.text, other.text) for one, other in pairwise(tokens))
    )


def _joined(tokens: _Element) -> str:
    return "".join(token.text.replace("\r\n", "") for token in tokens)
