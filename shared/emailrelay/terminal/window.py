"""The window that the output goes to: its width, characters and colours."""

import os
import sys
from typing import NamedTuple

_ELLIPSIS, _ARROW = "…", "→"


class Window(NamedTuple):
    """A terminal, or a file or pipe."""

    width: int | None
    """Columns; None for a file or pipe, where no line is cut."""
    colours: bool
    ellipsis: str
    """The end of a text that was cut."""
    arrow: str
    """The sign between a sender and a recipient."""


def window() -> Window:
    """Return the window of standard output. The environment's ``NO_COLOR`` is obeyed."""
    terminal = sys.stdout.isatty()
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM", "dumb") == "dumb"
    return Window(
        width=_width() if terminal else None,
        colours=terminal and not plain,
        ellipsis=_ELLIPSIS if _shows(_ELLIPSIS) else "...",
        arrow=_ARROW if _shows(_ARROW) else "->",
    )


def _width() -> int:
    """Return the columns of the terminal; a terminal that does not know them has 80."""
    named = os.environ.get("COLUMNS", "")
    if named.isascii() and named.isdecimal() and int(named) > 0:
        return int(named)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


def _shows(text: str) -> bool:
    """Tell whether the character set of standard output has all these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
