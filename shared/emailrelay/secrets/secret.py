"""A secret text: a password, a token or a key."""

from typing import final


@final
class Secret:
    """Holds a secret. Logs, tracebacks and format strings do not show it; pickle refuses it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text: use it at once and do not store it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __str__(self) -> str:
        return "(secret)"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> str:
        """Refuse pickling."""
        raise TypeError("a secret cannot be pickled")
