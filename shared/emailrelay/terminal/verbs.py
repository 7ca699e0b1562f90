"""Commands with subcommands, the verbs: ``emailrelay-queue list``."""

import argparse
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from emailrelay.suggestions import suggest
from emailrelay.terminal import common_options
from emailrelay.terminal.command_line import CommandLineParser
from emailrelay.terminal.run_command import CommandLineError

_STORE = "Store and settings"
"""The title of the options that choose a store and settings, in the help."""


class Verb(NamedTuple):
    """A verb as it is declared."""

    about: str
    """What it does, in one sentence."""
    form: str
    """The words behind its name, for the help."""
    act: Callable[[Namespace], int]
    """Takes the parsed words and returns the exit status."""
    options: tuple[Callable[[CommandLineParser], None], ...]
    examples: tuple[str, ...]
    """The words behind the name of the program."""
    statuses: tuple[tuple[int, str], ...] = ()
    """Its own exit statuses, if they differ from those of the program."""
    notes: tuple[str, ...] = ()
    takes_rest: bool = False
    """Unknown words are no error: ``act`` finds them in ``rest``, as given."""
    misused: Callable[[CommandLineError], int] | None = None
    """Returns the exit status for wrong words, if that is not the usual one."""


class ProgramOfVerbs(NamedTuple):
    """A command that consists of verbs."""

    name: str
    about: str
    verbs: Mapping[str, Verb]
    """The verbs by their names, in the order of the help."""
    statuses: tuple[tuple[int, str], ...]
    examples: tuple[str, ...]
    """The words behind the name of the program."""
    form: str = "[options] COMMAND [options]"
    notes: tuple[str, ...] = ()
    options: tuple[Callable[[CommandLineParser], None], ...] = ()
    """Options of all verbs, which can also stand before the verb."""

    def parser(self) -> CommandLineParser:
        """Return the parser of the words up to the verb; the others are in ``rest``."""
        parser = CommandLineParser(
            self.name,
            self.form,
            self.about,
            notes=self.notes,
            statuses=self.statuses,
            examples=tuple(f"{self.name} {words}" for words in self.examples),
            verbs=lambda: [self.verb_parser(name).page() for name in self.verbs],
        )
        parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
        parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
        for add in self.options:
            add(parser)
        return parser

    def verb_parser(self, name: str) -> CommandLineParser:
        """Return the parser of a verb's own words."""
        verb = self.verbs[name]
        parser = CommandLineParser(
            f"{self.name} {name}",
            verb.form,
            verb.about,
            notes=verb.notes,
            statuses=verb.statuses,
            examples=tuple(f"{self.name} {words}" for words in verb.examples),
            version=False,
        )
        for add in (*verb.options, *self.options):
            add(parser)
        return parser

    def run(self, words: Sequence[str]) -> int:
        """Run the command line; return the exit status.

        Raises:
            CommandLineError: a word is wrong, or an option is unknown; a line for each.

        """
        asked = self.parser().parse(words)
        if asked.command is None:
            raise CommandLineError("name a command; --help lists them")
        verb = self.verbs.get(asked.command)
        if verb is None:
            raise self._unknown(asked.command)
        try:
            asked = self._parsed(verb, asked)
        except CommandLineError as error:
            if verb.misused is None:
                raise
            return verb.misused(error)
        return verb.act(asked)

    def _parsed(self, verb: Verb, general: Namespace) -> Namespace:
        parser = self.verb_parser(general.command)
        if not verb.takes_rest:
            return parser.parse_mixed(general.rest, general)
        asked, rest = parser.parse_known_args(general.rest, general)
        asked.rest = rest
        return asked

    def _unknown(self, name: str) -> CommandLineError:
        meant = suggest(name, self.verbs)
        advice = "--help lists them" if meant is None else f"did you mean {meant}?"
        return CommandLineError(f"{name}: no such command; {advice}")


def add_json(parser: CommandLineParser) -> None:
    """Add the wish for JSON."""
    parser.add(common_options.JSON, action="store_true")


def add_config(parser: CommandLineParser) -> None:
    """Add the settings file."""
    parser.add(common_options.CONFIG, _STORE)


def add_spool_dir(parser: CommandLineParser) -> None:
    """Add the spool directory."""
    parser.add(common_options.SPOOL_DIR, _STORE)


def add_store(parser: CommandLineParser) -> None:
    """Add the URL of a store."""
    parser.add(common_options.STORE, _STORE)
