"""Words that several pages use: the menu, addresses, numbers."""

from typing import NamedTuple


class MenuLink(NamedTuple):
    """A page in the menu."""

    path: str
    text: str


LINKS = (MenuLink("/queue", "Queue"),)
"""The menu. A page of the console has its line here."""


def address(text: str | None) -> str:
    """Write an address; the null sender has a sign of its own."""
    return "?" if text is None else text or "<>"


def count_words(number: int, noun: str = "message") -> str:
    """Write a number with its noun: ``1 message``, ``1,200 messages``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
