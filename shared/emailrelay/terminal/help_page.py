"""The help of a command: its parts as values, and their form on a terminal.

The manual pages and the completions of the shells are made of the same values.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from emailrelay.terminal.output import print_page

_TEXT_AT = 28
"""The column of the texts beside the options."""
_NARROW = 60
"""In fewer columns than this, the texts are below the options."""
_BELOW = 10
_LEAST, _USUAL, _MOST = 20, 80, 100
"""Columns: the fewest for a text, those of a file or pipe, and the most that are easy to read."""


class HelpEntry(NamedTuple):
    """An option, an argument or a command of a command line."""

    names: tuple[str, ...]
    """An option's names, the short one first; the word for an argument; the name of a command."""
    text: str
    word: str = ""
    """The word for the value of an option: ``FILE``; ``[FILE]`` if the value can be left out, and
    ``[=FILE]`` if a value must be written with ``=``."""
    choices: tuple[str, ...] = ()
    """All values, if they are few words."""

    @property
    def term(self) -> str:
        """Give the names and the word: ``-s, --spool-dir DIR``."""
        blank = "" if self.word.startswith("[=") else " "
        return f"{', '.join(self.names)}{blank}{self.word}".rstrip()


class HelpGroup(NamedTuple):
    """Options that belong together."""

    title: str
    entries: tuple[HelpEntry, ...]


class HelpPage(NamedTuple):
    """The help of a command, or of a command inside it (a verb)."""

    program: str
    """``emailrelay-queue``, or ``emailrelay-queue list``."""
    forms: tuple[str, ...]
    """The words behind the name, one text for each form."""
    about: tuple[str, ...]
    """Paragraphs. The first says in one sentence what the command does."""
    groups: tuple[HelpGroup, ...]
    notes: tuple[str, ...] = ()
    """Paragraphs below the options."""
    statuses: tuple[tuple[int, str], ...] = ()
    """The exit statuses and their meanings."""
    examples: tuple[str, ...] = ()
    """Command lines that can be pasted into a shell."""
    verbs: tuple["HelpPage", ...] = ()
    """The commands inside it, in the order of the help."""

    @property
    def manual(self) -> str:
        """Give the name of the manual page."""
        return self.program.partition(" ")[0]


def entry_of_verb(page: HelpPage) -> HelpEntry:
    """Return the line of a verb in the help of its command."""
    return HelpEntry((page.program.rpartition(" ")[2],), page.about[0])


def render(page: HelpPage, width: int) -> str:
    """Return the help in lines of at most ``width`` columns; only examples can be longer."""
    return "\n".join(_lines(page, max(width, _LEAST))).rstrip("\n") + "\n"


def help_width() -> int:
    """Return the columns for a help text: those of ``COLUMNS`` or of the terminal."""
    named = os.environ.get("COLUMNS", "")
    if named.isascii() and named.isdecimal() and int(named[:6]) > 0:
        return min(int(named[:6]), _MOST)
    if not sys.stdout.isatty():
        return _USUAL
    try:
        return min(os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL, _MOST)
    except (OSError, ValueError):
        return _USUAL


def print_help(page: HelpPage) -> None:
    """Write the help to standard output; see ``print_page``."""
    print_page(page.program, render(page, help_width()))


def _lines(page: HelpPage, width: int) -> Iterator[str]:
    for number, form in enumerate(page.forms):
        start = "       " if number else "usage: "
        yield from _wrapped(f"{start}{page.program} {form}".rstrip(), width, " " * 9)
    yield ""
    for text in page.about:
        yield from _wrapped(text, width)
        yield ""
    groups = page.groups
    if page.verbs:
        groups = (HelpGroup("Commands", tuple(map(entry_of_verb, page.verbs))), *groups)
    for group in groups:
        yield f"{group.title}:"
        text_at = _text_at(group, width)
        short = any(len(entry.names[0]) == 2 for entry in group.entries)
        for entry in group.entries:
            # An option without a short name is aligned with the long names of the others.
            blanks = "    " if short and entry.names[0].startswith("--") else ""
            yield from _entry(f"  {blanks}{entry.term}", entry.text, width, text_at)
        yield ""
    for text in page.notes:
        yield from _wrapped(text, width)
        yield ""
    if page.statuses:
        meanings = "; ".join(f"{status} {text}" for status, text in page.statuses)
        yield from _wrapped(f"Exit status: {meanings}.", width)
        yield ""
    yield from _last(page, width)


def _last(page: HelpPage, width: int) -> Iterator[str]:
    if page.examples:
        yield "Examples:" if len(page.examples) > 1 else "Example:"
        for example in page.examples:
            yield from (f"  {line}" for line in example.splitlines())
        yield ""
    if page.verbs:
        yield from _wrapped(f"{page.program} COMMAND --help shows the options of a command.", width)
    yield from _wrapped(f"More: man {page.manual}", width)


def _text_at(group: HelpGroup, width: int) -> int:
    """Return the column of the texts: verbs are short, so their texts need no wide margin."""
    if width < _NARROW:
        return _BELOW
    if any(entry.names[0].startswith("-") for entry in group.entries):
        return _TEXT_AT
    longest = max(len(entry.term) for entry in group.entries)
    return min(longest + 4, _TEXT_AT)


def _entry(names: str, text: str, width: int, text_at: int) -> Iterator[str]:
    if len(names) > width:
        yield from _wrapped(names.strip(), width, "    ", first="  ")
        names = ""
    elif len(names) > text_at - 2:
        yield names
        names = ""
    texts = _wrapped(text, width - text_at)
    for number, line in enumerate(texts or [""]):
        start = names if number == 0 else ""
        yield f"{start:<{text_at}}{line}".rstrip()


def _wrapped(text: str, width: int, rest: str = "", first: str = "") -> Sequence[str]:
    """Return the lines of a text; a word that is longer than a line is cut."""
    import textwrap  # noqa: PLC0415 - few calls of a command show its help

    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
