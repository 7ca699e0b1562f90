"""Manual pages: their contents, and their form for man(1) (see man(7))."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_COMMANDS = 1
_SPECIAL = {
    "\\": "\\e",
    "-": "\\-",
    "'": "\\(aq",
    '"': "\\(dq",
    "`": "\\(ga",
    "^": "\\(ha",
    "~": "\\(ti",
}
_TITLES = {_COMMANDS: "User Commands", 5: "File Formats"}


@dataclass(frozen=True, slots=True)
class Entry:
    """An option or a word, and its meaning."""

    term: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with paragraphs, then entries, then command lines, then smaller sections."""

    title: str
    paragraphs: Sequence[str] = ()
    entries: Sequence[Entry] = ()
    lines: Sequence[str] = ()
    """Lines that are shown as they are."""
    parts: Sequence["Section"] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ManPage:
    """The page of one command or file."""

    name: str
    number: int = _COMMANDS
    """The section of the manual."""
    summary: str
    synopsis: Sequence[str]
    """The words behind the name of a command, one form a line; or the path of a file."""
    sections: Sequence[Section]
    see_also: Sequence[str] = ()
    """Other pages, as ``name(1)``."""


def roff(page: ManPage) -> str:
    """Return the page for man(1)."""
    return "\n".join(_lines(page)) + "\n"


def _lines(page: ManPage) -> Iterator[str]:
    yield '.\\" Made by python -m docs.generate; edit the declaration that it names instead.'
    title = f'"{_text(page.name.upper())}" "{page.number}"'
    yield f'.TH {title} "" "E-MailRelay" "{_TITLES[page.number]}"'
    # Paths and names of commands stay whole, so that they can be searched and copied.
    yield ".nh"
    yield ".ad l"
    yield ".SH NAME"
    yield f"{_text(page.name)} \\- {_text(page.summary)}"
    yield ".SH SYNOPSIS"
    for number, form in enumerate(page.synopsis):
        if number:
            yield ".br"
        name = f"\\fB{_text(page.name)}\\fP " if page.number == _COMMANDS else ""
        yield f"{name}{_text(form)}".rstrip()
    for section in page.sections:
        yield f'.SH "{_text(section.title.upper())}"'
        yield from _body(section)
    if page.see_also:
        yield ".SH SEE ALSO"
        yield ", ".join(map(_reference, page.see_also))


def _body(section: Section) -> Iterator[str]:
    for number, paragraph in enumerate(section.paragraphs):
        if number:
            yield ".PP"
        yield _line(paragraph)
    for entry in section.entries:
        yield ".TP"
        yield f".B {_text(entry.term)}"
        yield _line(entry.text)
    if section.lines:
        if section.paragraphs or section.entries:
            yield ".PP"
        yield ".nf"
        yield from map(_as_it_is, section.lines)
        yield ".fi"
    for part in section.parts:
        yield f'.SS "{_text(part.title)}"'
        yield from _body(part)


def _reference(page: str) -> str:
    name, _, number = page.partition("(")
    return f"\\fB{_text(name)}\\fP({number}"


def _text(text: str) -> str:
    """Protect characters that are special to troff, which makes plain hyphens typographic."""
    return " ".join(_protected(text).split())


def _protected(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def _line(text: str) -> str:
    """Protect a text at the beginning of a line, where a dot begins a request."""
    return _at_start(_text(text))


def _as_it_is(line: str) -> str:
    return _at_start(_protected(line))


def _at_start(text: str) -> str:
    return f"\\&{text}" if text.startswith((".", "'")) else text
