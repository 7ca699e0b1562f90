"""Masks mail addresses in the events of the log, for hosts that need privacy."""

import re
from collections.abc import Callable
from typing import TypeAlias, cast

from emailrelay.config import LogMailAddresses
from emailrelay.events.event import Event

MASK = "*"


Masking: TypeAlias = Callable[[Event], Event]

_ADDRESSES = frozenset({"sender", "user"})
"""Fields that are an address or a user's name; fields of several values are addresses too."""
_AS_THEY_ARE = frozenset({"id", "message_id"})
"""Fields that find a message again, and name no mailbox."""

_PATH = re.compile(r'<((?:"(?:[^"\\]|\\.){0,512}"@)?[^<>]*)>')
"""A path (RFC 5321 section 4.1.2): also a mailbox without a domain, such as ``<root>``."""
_NO_PATHS = frozenset({"", "CR", "LF", "CRLF", MASK})
_BARE = re.compile(
    # Only at the beginning of a word, so that a long one is read once. The word before a
    # parameter's value is not part of it. xtext (RFC 3461 section 4) and others have their
    # own forms of "@". No address has longer quotes or brackets: the bounds keep the cost linear.
    r'(?:"(?:[^"\\]|\\.){0,512}"|(?<![^\s<>()\[\],;:"])(?P<before>(?:AUTH|ORCPT|ENVID)=)?'
    r'[^\s<>()\[\],;:"]+)(?:@|\+40|=40|%40)'
    r"(?P<domain>\[[^\]\s]{0,255}\]|[^\s<>()\[\],;:\"']*)",
    re.IGNORECASE,
)
_ASKED = re.compile(r"(VRFY|EXPN)[ \t]+.+", re.IGNORECASE | re.DOTALL)
"""Commands whose argument is an address or a person's name, without brackets."""


def masking(shown: LogMailAddresses) -> Masking | None:
    """Return the function that masks an event; None: events stay as they are."""
    match shown:
        case LogMailAddresses.FULL:
            return None
        case LogMailAddresses.DOMAIN:
            return _Masker(shows_domain=True).event
        case LogMailAddresses.NONE:
            return _Masker(shows_domain=False).event


class _Masker:
    def __init__(self, *, shows_domain: bool) -> None:
        self._shows_domain = shows_domain

    def event(self, event: Event) -> Event:
        """Return the event with its addresses masked, and those in its texts."""
        values = {name: self._value(name, getattr(event, name)) for name in event.fields}
        return type(event)(**values)

    def _value(self, name: str, value: object) -> object:
        if name in _AS_THEY_ARE:
            return value
        if isinstance(value, tuple):
            return tuple(self._address(str(each)) for each in cast("tuple[object, ...]", value))
        if type(value) is not str:  # numbers, and our own words such as states
            return value
        return self._address(value) if name in _ADDRESSES else self._text(value)

    def _address(self, address: str) -> str:
        """Mask an address. The null sender is none."""
        if not address:
            return address
        domain = address.rpartition("@")[2] if "@" in address else ""
        return f"{MASK}@{domain}" if domain and self._shows_domain else MASK

    def _text(self, text: str) -> str:
        """Mask the addresses in a reply, a command or a reason."""
        if asked := _ASKED.fullmatch(text):
            return f"{asked[1]} {MASK}"
        text = _PATH.sub(self._path, text)
        return _BARE.sub(self._bare, text)

    def _path(self, found: re.Match[str]) -> str:
        return found[0] if found[1] in _NO_PATHS else f"<{self._address(found[1])}>"

    def _bare(self, found: re.Match[str]) -> str:
        shown = f"@{found['domain']}" if self._shows_domain and found["domain"] else ""
        return f"{found['before'] or ''}{MASK}{shown}"
