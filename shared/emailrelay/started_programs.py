"""Tells if this process has started programs: between fork and exec these share its open files."""

_some = False


def note() -> None:
    """Note that a program is about to be started."""
    global _some  # noqa: PLW0603 - a fact about the process
    _some = True


def some() -> bool:
    """Return whether this process has started a program."""
    return _some
