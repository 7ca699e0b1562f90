"""Manual pages: their contents, and their form for man(1) (see man(7))."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """An option or a word, and its meaning."""

    term: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with paragraphs, then entries."""

    title: str
    paragraphs: Sequence[str] = ()
    entries: Sequence[Entry] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ManPage:
    """The page of one command."""

    name: str
    summary: str
    synopsis: Sequence[str]
    """The words behind the command's name, one form a line."""
    sections: Sequence[Section]
    see_also: Sequence[str] = ()
    """Other commands with a page of their own."""


def roff(page: ManPage) -> str:
    """Return the page for man(1)."""
    return "\n".join(_lines(page)) + "\n"


def _lines(page: ManPage) -> Iterator[str]:
    yield '.\\" Made by python -m docs.generate; edit the declaration that it names instead.'
    yield f'.TH "{_text(page.name.upper())}" "1" "" "E-MailRelay" "User Commands"'
    yield ".SH NAME"
    yield f"{_text(page.name)} \\- {_text(page.summary)}"
    yield ".SH SYNOPSIS"
    for number, form in enumerate(page.synopsis):
        if number:
            yield ".br"
        yield f"\\fB{_text(page.name)}\\fP {_text(form)}".rstrip()
    for section in page.sections:
        yield f'.SH "{_text(section.title.upper())}"'
        for paragraph in section.paragraphs:
            yield ".PP"
            yield _line(paragraph)
        for entry in section.entries:
            yield ".TP"
            yield f".B {_text(entry.term)}"
            yield _line(entry.text)
    if page.see_also:
        yield ".SH SEE ALSO"
        yield ", ".join(f"\\fB{_text(name)}\\fP(1)" for name in page.see_also)


def _text(text: str) -> str:
    """Protect characters that are special to troff; it would make a plain hyphen typographic."""
    return " ".join(text.replace("\\", "\\e").replace("-", "\\-").split())


def _line(text: str) -> str:
    """Protect a text that stands at the beginning of a line, where a dot or quote is a request."""
    protected = _text(text)
    return f"\\&{protected}" if protected.startswith((".", "'")) else protected
