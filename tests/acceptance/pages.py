"""The commands, options and links that the documentation prints."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests.acceptance.relay import ROOT

PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")], key=lambda page: page.as_posix()
)
_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)
_SPAN = re.compile(r"(?<!`)`(?P<text>[^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<text>.*)$", re.MULTILINE)
_OURS = frozenset(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"])
_PERSONALITIES = {"sendmail": "emailrelay-submit", "mailq": "emailrelay-submit"}
_ASSIGNMENT = re.compile(r"[A-Z_]+=.*")


@dataclass(frozen=True, slots=True)
class Printed:
    """A command as a page prints it: one of ours, with its arguments."""

    page: str
    command: str
    arguments: tuple[str, ...]

    @property
    def options(self) -> Iterator[str]:
        """Give its long options, without values."""
        return (word.partition("=")[0] for word in self.arguments if word.startswith("--"))

    def __str__(self) -> str:
        """Name it in a test's id."""
        return f"{self.page}: {shlex.join((self.command, *self.arguments))}"


def blocks(page: Path, language: str) -> list[str]:
    """Give the blocks of a page in one language."""
    found = _BLOCK.finditer(page.read_text("utf-8"))
    return [dedent(match["text"]) for match in found if match["language"] == language]


def spans(page: Path) -> list[str]:
    """Give the code spans in the text of a page."""
    text = _BLOCK.sub("", page.read_text("utf-8"))
    return [match["text"] for match in _SPAN.finditer(text)]


def printed(page: Path) -> Iterator[Printed]:
    """Give every command of ours on a page, from its shell blocks and from its text."""
    name = page.relative_to(ROOT).as_posix()
    text = [*blocks(page, "sh"), *blocks(page, "")]
    lines = [line for block in text for line in block.splitlines()]
    for line in [*lines, *spans(page)]:
        for words in map(_by_whoever, _simple_commands(line)):
            command = Path(words[0]).name
            command = _PERSONALITIES.get(command, command)
            if command in _OURS and not words[0].endswith("/"):
                yield Printed(name, command, tuple(words[1:]))


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        found = [*lexer, ";"]
    except ValueError:  # a line of a quoted text that spans several
        return
    for word in found:
        if set(word) <= set("|&;<>()"):
            if words:
                yield words
            words = []
        elif words or not _ASSIGNMENT.fullmatch(word):
            words.append(word)


def _by_whoever(words: list[str]) -> list[str]:
    """Remove the change of user in front of a command: ``runuser -u USER --``."""
    return words[4:] if words[0] == "runuser" and len(words) > 4 else words


def links(page: Path) -> Iterator[str]:
    """Give the targets of a page's links within the checkout."""
    for match in _LINK.finditer(page.read_text("utf-8")):
        if "://" not in match["target"]:
            yield match["target"]


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as hosting sites make them."""
    headings = [match["text"].lower() for match in _HEADING.finditer(page.read_text("utf-8"))]
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings}
