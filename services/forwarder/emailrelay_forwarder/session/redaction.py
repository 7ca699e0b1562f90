"""Secrets that servers repeat are taken out of replies before anything shows the replies."""

import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote

from emailrelay.envelope_format import to_xtext

HIDDEN = "(secret)"
_SHORT = 4
"""Characters: a secret below that counts only between blanks, or it would hide codes and half of a text."""
_LEAST_BASE64 = 4
"""Characters of base64 that belong to a secret alone: fewer are in many words."""


class Redaction:
    """What is to be hidden on one connection, in all forms that servers repeat it in."""

    __slots__ = ("_found", "_patterns")

    def __init__(self) -> None:
        self._patterns: set[str] = set()
        self._found: re.Pattern[str] | None = None

    def hide(self, secret: bytes) -> None:
        """Hide this from now on: plain, as xtext (RFC 3461), percent-encoded, and within base64."""
        before = len(self._patterns)
        self._patterns.update(_patterns(secret))
        if len(self._patterns) > before:
            # The longest first: a password may be the beginning of what it is sent in.
            ordered = sorted(self._patterns, key=len, reverse=True)
            self._found = re.compile("|".join(ordered))

    def __call__(self, text: str) -> str:
        """Give a text without the secrets."""
        return text if self._found is None else self._found.sub(HIDDEN, text)


def _patterns(secret: bytes) -> Iterator[str]:
    text = secret.decode(errors="replace")
    for form in {text, text.strip(), to_xtext(text), quote(text, safe="")}:
        if len(form) >= _SHORT:
            yield re.escape(form)
        elif form:
            yield rf"(?<!\S){re.escape(form)}(?!\S)"
    for part in _within_base64(secret):
        yield rf"[A-Za-z0-9+/]*{re.escape(part)}[A-Za-z0-9+/]*=*"


def _within_base64(secret: bytes) -> Iterator[str]:
    """Give the base64 forms of a secret, for any text before and after it, without the edges."""
    for before in range(3):
        encoded = b64encode(bytes(before) + secret).decode().rstrip("=")
        edge = 1 if (before + len(secret)) % 3 else 0
        part = encoded[(0, 2, 3)[before] : len(encoded) - edge]
        if len(part) >= _LEAST_BASE64:
            yield part
