"""Removes secrets that servers repeat from their replies."""

import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote

from emailrelay.envelope_format import to_xtext

HIDDEN = "(secret)"
_SHORT = 4
"""Characters. A shorter secret counts only between blanks, or it would hide codes and words."""
_LEAST_BASE64 = 4
"""Characters of base64 that identify a secret: many words contain fewer."""


class Redaction:
    """The secrets of one connection, in all forms in which servers repeat them."""

    __slots__ = ("_found", "_patterns", "hides")

    def __init__(self) -> None:
        self.hides = False
        """True if there is a secret."""
        self._patterns: set[str] = set()
        self._found: re.Pattern[str] | None = None

    def hide(self, secret: bytes) -> None:
        """Hide this from now on: plain, as xtext (RFC 3461), percent-encoded, and within base64."""
        before = len(self._patterns)
        self._patterns.update(_patterns(secret))
        if len(self._patterns) > before:
            # The longest first: a password may be the beginning of a longer form.
            ordered = sorted(self._patterns, key=len, reverse=True)
            self._found = re.compile("|".join(ordered))
            self.hides = True

    def __call__(self, text: str) -> str:
        """Return a text without the secrets."""
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
    """Yield the base64 forms of a secret within any text, without the first and last characters."""
    for before in range(3):
        encoded = b64encode(bytes(before) + secret).decode().rstrip("=")
        edge = 1 if (before + len(secret)) % 3 else 0
        part = encoded[(0, 2, 3)[before] : len(encoded) - edge]
        if len(part) >= _LEAST_BASE64:
            yield part
