"""The command line of ``emailrelay-submit``, and of ``sendmail`` for programs that know that name."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from emailrelay.errors import RelayError

_IGNORED_WITH_VALUE = frozenset("BCDLNOPRVXdhpq")
"""What sendmail's options of these letters set has no meaning here; their values are skipped."""
_IGNORED = frozenset("AGUmnv")


class Personality(Enum):
    """What the command is to do."""

    SUBMIT = auto()
    SESSION = auto()
    MAILQ = auto()
    NEWALIASES = auto()
    HELP = auto()
    VERSION = auto()


class UsageError(RelayError):
    """The command line makes no sense; the text says which part."""

    temporary = False


class Arguments(NamedTuple):
    """The command line read."""

    personality: Personality = Personality.SUBMIT
    recipients: tuple[str, ...] = ()
    from_header: bool = False
    """Whether the message names its recipients (``-t``)."""
    dots_end: bool = True
    """Whether a line with nothing but a dot ends the message; ``-i`` says no."""
    sender: str | None = None
    full_name: str | None = None
    domain: str | None = None
    """The domain of addresses that have none."""
    spool_dir: str | None = None
    port: int = 25
    verbose: bool = False


_NAMED = {"mailq": Personality.MAILQ, "newaliases": Personality.NEWALIASES}
_FLAGS = {"--help": Personality.HELP, "--version": Personality.VERSION}
_MODES = {
    "m": Personality.SUBMIT,
    "s": Personality.SESSION,
    "p": Personality.MAILQ,
    "i": Personality.NEWALIASES,
}


def parse(program: str, argv: Sequence[str]) -> Arguments:
    """Read the command line of a program that was called by the name ``program``.

    Raises:
        UsageError: an option is unknown, or its value is missing or wrong.

    """
    found = Arguments(personality=_NAMED.get(program, Personality.SUBMIT))
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
        return found._replace(personality=_FLAGS[name])
    if name == "--verbose" and not equals:
        return found._replace(verbose=True)
    words = [value] if equals else rest
    match name:
        case "--spool-dir":
            return found._replace(spool_dir=_value(name, words))
        case "--from":
            return found._replace(sender=_value(name, words, empty=True))
        case "--domain":
            return found._replace(domain=_value(name, words))
        case "--port":
            return found._replace(port=_port(_value(name, words)))
        case _:
            raise UsageError(f"{word}: no such option, see --help")


def _short(found: Arguments, word: str, rest: list[str]) -> Arguments:
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
            return found._replace(personality=_mode(word))
        case _ if letter in _IGNORED_WITH_VALUE:
            if not glued and letter != "q":
                _value(word, rest)
            return found
        case _:
            return _switches(found, word)


def _switches(found: Arguments, word: str) -> Arguments:
    """Read letters that take no value; several may stand together, as in ``-ti``."""
    for letter in word[1:]:
        if letter == "t":
            found = found._replace(from_header=True)
        elif letter == "i":
            found = found._replace(dots_end=False)
        elif letter == "v":
            found = found._replace(verbose=True)
        elif letter not in _IGNORED:
            raise UsageError(f"{word}: no such option, see --help")
    return found


def _mode(word: str) -> Personality:
    mode = _MODES.get(word[2:])
    if mode is None:
        raise UsageError(f"{word}: this way of working is not offered, see --help")
    return mode


def _value(option: str, rest: list[str], *, empty: bool = False) -> str:
    if not rest or not (rest[0] or empty):
        raise UsageError(f"{option}: a value is missing")
    return rest.pop(0)


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and 0 < int(text) < 65536:
        return int(text)
    raise UsageError(f"--port {text}: not a port; say a number from 1 to 65535")
