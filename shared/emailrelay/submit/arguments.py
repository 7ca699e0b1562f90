"""The command line of ``emailrelay-submit``, also called as ``sendmail`` or ``mailq``."""

import os
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from emailrelay.errors import RelayError

PROGRAM = "emailrelay-submit"
_IGNORED_WITH_VALUE = frozenset("ABCDLNOPRVXdehp")
"""Letters of sendmail options that are ignored here, together with their values."""
_IGNORED = frozenset("GUcmnx")


class OperationMode(Enum):
    """A task of the command, as sendmail's option ``-b`` selects it."""

    SUBMIT = auto()
    SESSION = auto()
    MAILQ = auto()
    FLUSH = auto()
    """A queue run, unless there is a message to submit."""
    NEWALIASES = auto()
    HELP = auto()
    VERSION = auto()


class UsageError(RelayError):
    """The command line is wrong; the text says which part."""

    temporary = False
    status = os.EX_USAGE


class Arguments(NamedTuple):
    """The parsed command line."""

    mode: OperationMode = OperationMode.SUBMIT
    recipients: tuple[str, ...] = ()
    from_header: bool = False
    """True: the message names its recipients (``-t``)."""
    dots_end: bool = True
    """True: a line with only a dot ends the message; ``-i`` switches it off."""
    sender: str | None = None
    full_name: str | None = None
    domain: str | None = None
    """The domain for addresses without one."""
    spool_dir: str | None = None
    store: str | None = None
    """The URL of a store."""
    port: int | None = None
    """The receiver's port on this host."""
    config: str | None = None
    """The settings file."""
    verbose: bool = False


_NAMED = {"mailq": OperationMode.MAILQ, "newaliases": OperationMode.NEWALIASES}
_FLAGS = {"--help": OperationMode.HELP, "--version": OperationMode.VERSION}
_LONG = ("spool_dir", "config", "store", "from", "domain", "port", "verbose", "help", "version")
"""The long options, for suggestions."""
_MODES = {
    "m": OperationMode.SUBMIT,
    "s": OperationMode.SESSION,
    "p": OperationMode.MAILQ,
    "i": OperationMode.NEWALIASES,
}


def parse(program: str, argv: Sequence[str]) -> Arguments:
    """Parse the command line of a program that was called as ``program``.

    Raises:
        UsageError: an option is unknown, or its value is missing or wrong.

    """
    found = Arguments(mode=_NAMED.get(program, OperationMode.SUBMIT))
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return found._replace(recipients=(*found.recipients, *rest))
        if word.startswith("--"):
            found = _long(found, word, rest)
        elif word.startswith("-") and word != "-":
            found = _short(found, word, rest)
        else:
            found = found._replace(recipients=(*found.recipients, word))
    return found


def _long(found: Arguments, word: str, rest: list[str]) -> Arguments:
    name, equals, value = word.partition("=")
    if name in _FLAGS and not equals:
        return found._replace(mode=_FLAGS[name])
    if name == "--verbose" and not equals:
        return found._replace(verbose=True)
    words = [value] if equals else rest
    match name:
        case "--spool-dir":
            return found._replace(spool_dir=_value(name, words))
        case "--config":
            return found._replace(config=_value(name, words))
        case "--store":
            return found._replace(store=_value(name, words))
        case "--from":
            return found._replace(sender=_value(name, words, empty=True))
        case "--domain":
            return found._replace(domain=_value(name, words))
        case "--port":
            return found._replace(port=_port(_value(name, words)))
        case _:
            raise UsageError(f"{name}: unknown option; {_advice(name)}")


def _advice(name: str) -> str:
    from emailrelay.suggestions import suggest  # noqa: PLC0415 - only needed for mistakes

    meant = suggest(name.lstrip("-").replace("-", "_"), _LONG)
    return "see --help" if meant is None else f"did you mean --{meant.replace('_', '-')}?"


def _short(found: Arguments, word: str, rest: list[str]) -> Arguments:
    """Read a letter and its value, or letters without values: ``-ti``; the last may have one."""
    letter, glued = word[1], word[2:]
    match letter:
        case "f" | "r":
            return found._replace(sender=glued or _value(word, rest, empty=True))
        case "F":
            return found._replace(full_name=glued or _value(word, rest, empty=True))
        case "s":
            return found._replace(spool_dir=glued or _value(word, rest))
        case "o":
            return found._replace(dots_end=found.dots_end and (glued or _value(word, rest)) != "i")
        case "b":
            return found._replace(mode=_mode(glued))
        case "q":
            # With a value it is an interval or a part of the queue. Our forwarder has its schedule.
            runs = not glued and found.mode is OperationMode.SUBMIT
            return found._replace(mode=OperationMode.FLUSH) if runs else found
        case _ if letter in _IGNORED_WITH_VALUE:
            if not glued:
                _value(word, rest)
            return found
        case _:
            found = _switch(found, letter)
            return _short(found, f"-{glued}", rest) if glued else found


def _switch(found: Arguments, letter: str) -> Arguments:
    """Read a letter that takes no value."""
    match letter:
        case "t":
            return found._replace(from_header=True)
        case "i":
            return found._replace(dots_end=False)
        case "v":
            return found._replace(verbose=True)
        case "I":
            return found._replace(mode=OperationMode.NEWALIASES)
        case _ if letter in _IGNORED:
            return found
        case _:
            raise UsageError(f"-{letter}: unknown option; see --help")


def _mode(letter: str) -> OperationMode:
    mode = _MODES.get(letter)
    if letter == "v":
        raise UsageError("-bv: this command does not verify addresses; it only sends mail")
    if mode is None:
        raise UsageError(f"-b{letter}: this mode is not supported; see --help")
    return mode


def _value(option: str, rest: list[str], *, empty: bool = False) -> str:
    if not rest or not (rest[0] or empty):
        raise UsageError(f"{option}: a value is missing")
    return rest.pop(0)


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536:
        return int(text)
    raise UsageError(f"--port {text}: not a port; give a number from 1 to 65535")
