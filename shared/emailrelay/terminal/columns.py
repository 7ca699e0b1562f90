"""Text in columns of a terminal: measured, cut, aligned."""

from collections.abc import Iterator, Sequence
from unicodedata import category, east_asian_width

GAP = "  "


def cells(text: str) -> int:
    """Return the number of terminal columns that a printable text takes (UAX #11)."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(letter: str) -> int:
    if category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(letter) in "WF" else 1


def cut(text: str, width: int | None, ellipsis: str) -> str:
    """Return a text that takes at most ``width`` columns (None: any); a cut one has an ellipsis."""
    if width is None or cells(text) <= width:
        return text
    room, kept = width - cells(ellipsis), list[str]()
    for letter in text:
        room -= _cells_of(letter)
        if room < 0:
            break
        kept.append(letter)
    return ("".join(kept) + ellipsis)[: max(width, 0)]


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return a text filled up with blanks to ``width`` columns; ``right``: aligned there."""
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column of a table that has at least one row."""
    return [max(map(cells, column)) for column in zip(*rows, strict=True)]


def aligned(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> Iterator[str]:
    """Yield the lines of a table; the columns in ``right`` are aligned there."""
    wide = widths(rows) if rows else []
    for row in rows:
        texts = [padded(text, wide[place], right=place in right) for place, text in enumerate(row)]
        yield GAP.join(texts).rstrip()
