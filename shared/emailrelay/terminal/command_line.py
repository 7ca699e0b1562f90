"""Command lines made with argparse: errors are exceptions, and the help is a ``HelpPage``."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from emailrelay.suggestions import suggest
from emailrelay.terminal import common_options
from emailrelay.terminal.common_options import GENERAL
from emailrelay.terminal.help_page import HelpEntry, HelpGroup, HelpPage, print_help
from emailrelay.terminal.run_command import CommandLineError
from emailrelay.terminal.version import print_version

ARGUMENTS, OPTIONS = "Arguments", "Options"
"""The titles of what has no group of its own."""


class CommandLineParser(argparse.ArgumentParser):
    """A parser that raises ``CommandLineError`` where argparse ends the process.

    ``form`` has the words behind the name. ``notes``, ``statuses`` and ``examples`` are those of
    ``HelpPage``; ``verbs`` is called only when the help is wanted. A parser with ``own_general``
    gets no ``--help`` and no ``--version`` by itself.
    """

    def __init__(
        self,
        program: str,
        form: str,
        about: str,
        *,
        notes: tuple[str, ...] = (),
        statuses: tuple[tuple[int, str], ...] = (),
        examples: tuple[str, ...] = (),
        verbs: Callable[[], Iterable[HelpPage]] = tuple,
        version: bool = True,
        own_general: bool = False,
        **others: Any,
    ) -> None:
        self.words: Sequence[str] = ()
        """The command line being parsed."""
        self._verbs = verbs
        self._titles: dict[str, list[HelpEntry]] = {}
        self._page = HelpPage(program, (form,), (about,), (), notes, statuses, examples)
        super().__init__(prog=program, add_help=False, allow_abbrev=False, **others)
        if own_general:
            return
        self.add(common_options.HELP, GENERAL, action="help")
        if version:
            self.add(common_options.VERSION, GENERAL, action=_PrintVersion, nargs=0)

    def error(self, message: str) -> NoReturn:
        """Raise the error.

        Raises:
            CommandLineError: always.

        """
        raise CommandLineError(message)

    def parse(self, words: Sequence[str] | None) -> argparse.Namespace:
        """Parse a command line; None: that of this process.

        Raises:
            CommandLineError: a word is wrong, or an option is unknown; a line for each.

        """
        self.words = sys.argv[1:] if words is None else words
        return self._known(*self.parse_known_args(self.words))

    def parse_mixed(self, words: Sequence[str], general: argparse.Namespace) -> argparse.Namespace:
        """Parse words and options in any order, into ``general``; see ``parse``."""
        self.words = words
        return self._known(*self.parse_known_intermixed_args(words, general))

    def _known(self, parsed: argparse.Namespace, unknown: Sequence[str]) -> argparse.Namespace:
        options = [word for word in unknown if word.startswith("-") and word != "--"]
        # A bare word behind an unknown option may be its value.
        wrong = [*map(self._no_such_option, options)] or [f"{word}: unexpected" for word in unknown]
        if wrong:
            raise CommandLineError("\n".join(wrong))
        return parsed

    def _no_such_option(self, word: str) -> str:
        option = word.split("=", 1)[0]
        meant = self.meant(option)
        advice = "see --help" if meant is None else f"did you mean {meant}?"
        return f"{option}: unknown option; {advice}"

    def meant(self, option: str) -> str | None:
        """Return the option of this parser that an unknown one probably means, or None."""
        names = {
            name.removeprefix("--").replace("-", "_"): name
            for name in self._option_string_actions
            if name.startswith("--")
        }
        meant = suggest(option.lstrip("-").replace("-", "_"), names)
        return None if meant is None else names[meant]

    def add(self, option: HelpEntry, title: str = OPTIONS, **how: Any) -> None:
        """Add an option that several commands have; ``how`` is that of ``add_argument``."""
        if option.word:
            how["metavar"] = option.word
        self.add_argument(*option.names, title=title, help=option.text, **how)

    def add_argument(
        self, *names: str, title: str = "", word: str | None = None, **how: Any
    ) -> argparse.Action:
        """See ``ArgumentParser.add_argument``.

        ``title`` is that of a group of the help; ``word`` is shown there instead of the metavar.
        """
        action = super().add_argument(*names, **how)
        self.show(action, title=title, word=word)
        return action

    def show(
        self, action: argparse.Action, *, title: str = "", word: str | None = None
    ) -> argparse.Action:
        """Show an action in the help that was added to a group of argparse; return it."""
        if action.help not in (None, argparse.SUPPRESS):
            usual = OPTIONS if action.option_strings else ARGUMENTS
            self._titles.setdefault(title or usual, []).append(_entry(action, word))
        return action

    def page(self) -> HelpPage:
        """Return the help. The general options stand at its end."""
        titles = sorted(self._titles, key=lambda title: (title == GENERAL, title != ARGUMENTS))
        groups = tuple(HelpGroup(title, tuple(self._titles[title])) for title in titles)
        return self._page._replace(groups=groups, verbs=tuple(self._verbs()))

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 - the library's signature
        """Print the help. Unlike argparse's own, it ends the process if it cannot be written."""
        print_help(self.page())


def _entry(action: argparse.Action, word: str | None) -> HelpEntry:
    names = sorted(action.option_strings, key=len)
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    choices = tuple(map(str, action.choices or ()))
    if choices and action.metavar is None:
        metavar = "|".join(choices)
    text = (action.help or "").replace("%%", "%")
    if not names:
        return HelpEntry((metavar,), text, "", choices)
    taken = "" if action.nargs == 0 else metavar
    return HelpEntry(tuple(names), text, taken if word is None else word, choices)


class _PrintVersion(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - the library's signature
        values: str | Sequence[Any] | None,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> NoReturn:
        words = parser.words if isinstance(parser, CommandLineParser) else ()
        print_version(parser.prog, verbose=not {"-v", "--verbose"}.isdisjoint(words))
        parser.exit()
