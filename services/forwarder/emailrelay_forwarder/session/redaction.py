"""Removes secrets that servers repeat from their replies."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from emailrelay.envelope_format import to_xtext

HIDDEN = "(secret)"
_SHORT = 4
"""Characters. A shorter secret counts only between blanks, or it would hide codes and words."""
_LEAST_BASE64 = 4
"""Characters of base64 that identify a secret: many words contain fewer."""
_BASE64 = re.compile(r"[A-Za-z0-9+/]+=*")


class Redaction:
    """The secrets of one connection, in all forms in which servers repeat them."""

    __slots__ = ("_base64", "_forms", "_patterns", "hides")

    def __init__(self) -> None:
        self.hides = False
        """True if there is a secret."""
        self._patterns: set[str] = set()
        self._base64: set[str] = set()
        """The forms that are hidden with all the base64 around them."""
        self._forms: re.Pattern[str] | None = None

    def hide(self, secret: bytes) -> None:
        """Hide this from now on: plain, as xtext (RFC 3461), percent-encoded, and within base64."""
        before = len(self._patterns) + len(self._base64)
        self._patterns.update(_patterns(secret))
        self._base64.update(_within_base64(secret))
        if len(self._patterns) + len(self._base64) > before:
            self._forms = _any_of([*self._patterns, *map(re.escape, self._base64)])
            self.hides = True

    def __call__(self, text: str) -> str:
        """Return a text without the secrets, in linear time."""
        if self._forms is None or not self._forms.search(text):
            return text
        hidden = [found.span() for found in _any_of(self._patterns).finditer(text)]
        if self._base64:
            within = _any_of(map(re.escape, self._base64))
            # A pattern for a form with base64 before it would take quadratic time.
            runs = (run.span() for run in _BASE64.finditer(text))
            hidden += [span for span in runs if within.search(text, *span)]
        return _without(text, hidden)


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    # The longest first: a password may be the beginning of a longer form.
    return re.compile("|".join(sorted(patterns, key=len, reverse=True)))


def _without(text: str, hidden: Iterable[tuple[int, int]]) -> str:
    """Return a text without the characters between each start and end."""
    shown, at = list[str](), 0
    for start, end in sorted(hidden):
        if start >= at:
            shown += [text[at:start], HIDDEN]
        at = max(at, end)
    return "".join([*shown, text[at:]])


def _patterns(secret: bytes) -> Iterator[str]:
    text = secret.decode(errors="replace")
    for form in {text, text.strip(), to_xtext(text), quote(text, safe="")}:
        if len(form) >= _SHORT:
            yield re.escape(form)
        elif form:
            yield rf"(?<!\S){re.escape(form)}(?!\S)"


def _within_base64(secret: bytes) -> Iterator[str]:
    """Yield the base64 forms of a secret within any text, without the first and last characters."""
    for before in range(3):
        encoded = b64encode(bytes(before) + secret).decode().rstrip("=")
        edge = 1 if (before + len(secret)) % 3 else 0
        part = encoded[(0, 2, 3)[before] : len(encoded) - edge]
        if len(part) >= _LEAST_BASE64:
            yield part
