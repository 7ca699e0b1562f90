"""The completions of the shells for each command, made of its help by shtab."""

import re
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator, Mapping

import shtab
from docs.generate.commands import all_help

from emailrelay.config import SERVICES
from emailrelay.queue.state import State
from emailrelay.terminal.help_page import HelpEntry, HelpPage

_PLACES = {
    "bash": "bash-completion/completions/{}",
    "fish": "fish/vendor_completions.d/{}.fish",
    "zsh": "zsh/site-functions/_{}",
}
"""The file of a command's completion, below the folder of each shell."""
_FORWARDER = "emailrelay-forwarder"
_WITH_FORWARDER = frozenset({"emailrelay-doctor", "emailrelay-config show"})
"""Commands that take the options of the forwarder too."""
_VALUES = {
    "STATE": tuple(State),
    "SERVICE": tuple(service.service for service in SERVICES),
}
_FILES = {
    "FILE": shtab.FILE,
    "PEM,...": shtab.FILE,
    "PROGRAM": shtab.FILE,
    "SPEC": shtab.FILE,
    "SPEC,...": shtab.FILE,
    "config-file": shtab.FILE,
    "DIR": shtab.DIRECTORY,
    "SPOOL-DIR": shtab.DIRECTORY,
}
"""The words for values that are names of files."""
_WORDS = re.compile(r"\[?=?([a-z-]+(?:\|[a-z-]+)+|json)\]?")


def completions() -> Iterator[tuple[str, str]]:
    """Yield the name of each file below ``docs/completion``, and its text."""
    pages = all_help()
    for name, page in pages.items():
        for shell, place in _PLACES.items():
            # The parser is made again: shtab changes it.
            text = shtab.complete(_parser(page, pages), shell)
            if shell == "zsh":
                # Between double quotes the shell would show the backslash.
                text = text.replace("\\'", "'")
            yield place.format(name), "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _parser(page: HelpPage, pages: Mapping[str, HelpPage]) -> ArgumentParser:
    parser = ArgumentParser(prog=page.program, description=page.about[0], add_help=False)
    _add_entries(parser, page, pages)
    if page.verbs:
        verbs = parser.add_subparsers(metavar="COMMAND")
        for verb in page.verbs:
            name = verb.program.rpartition(" ")[2]
            one = verbs.add_parser(name, help=_plain(verb.about[0]), add_help=False)
            _add_entries(one, verb, pages)
    return parser


def _add_entries(parser: ArgumentParser, page: HelpPage, pages: Mapping[str, HelpPage]) -> None:
    entries = [entry for group in page.groups for entry in group.entries]
    if page.program in _WITH_FORWARDER:
        known = {name for entry in entries for name in entry.names}
        more = (entry for group in pages[_FORWARDER].groups for entry in group.entries)
        entries += [entry for entry in more if not known & set(entry.names)]
    for entry in entries:
        _add(parser, entry)


def _add(parser: ArgumentParser, entry: HelpEntry) -> None:
    text = _plain(entry.text)
    if not entry.names[0].startswith("-"):
        word = entry.names[0]
        action = parser.add_argument(word, nargs="*", choices=_VALUES.get(word), help=text)
    elif not entry.word:
        parser.add_argument(*entry.names, action="store_true", help=text)
        return
    else:
        word = entry.word
        few = _WORDS.fullmatch(word)
        choices = entry.choices or _VALUES.get(word) or (few and tuple(few[1].split("|"))) or None
        nargs = "?" if word.startswith("[") else None
        action = parser.add_argument(*entry.names, nargs=nargs, choices=choices, help=text)
    if word in _FILES:
        action.complete = _FILES[word]  # type: ignore[attr-defined]


def _plain(text: str) -> str:
    """Return the first sentence, without signs that have a meaning in a shell."""
    sentence = re.split(r" \[|[.:] ", text, maxsplit=1)[0].rstrip(".")
    return re.sub(r"[^\w\s.,;()/@*<>=+'-]", "", sentence) or SUPPRESS
