"""Patterns in which ``*`` and ``?`` are wildcards, and any other character stands for itself."""

from fnmatch import fnmatchcase


def glob(pattern: str) -> str:
    """Return the pattern for ``fnmatch`` and for GLOB of SQLite, where ``[`` begins a set."""
    return pattern.replace("[", "[[]")


def fits(pattern: str, text: str) -> bool:
    """Tell whether the whole text matches; upper and lower case differ."""
    return fnmatchcase(text, glob(pattern))
