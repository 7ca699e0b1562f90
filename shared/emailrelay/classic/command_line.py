"""The grammar of the legacy command line and of its configuration file."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from emailrelay.classic.option import Option, OptionKind
from emailrelay.classic.options import BY_LETTER, BY_NAME
from emailrelay.filters.spec import is_quoted, looks_complete, split_list
from emailrelay.suggestions import suggest

_COMMENT = re.compile(r"\s#")
_FILTERS = "SPEC,..."
"""The word for values that are lists of filters."""
_YES = frozenset({"yes", "true", "on", "1", "y"})
_NO = frozenset({"no", "false", "off", "0", "n"})


@dataclass(frozen=True, slots=True)
class GivenOptions:
    """The values of each given option. The value of a flag is ``yes``."""

    values: Mapping[str, tuple[str, ...]]
    off: frozenset[str] = frozenset()
    """The flags that were given with ``no``."""

    def on(self, name: str) -> bool:
        """Tell whether an option was given (a flag: and not with ``no``)."""
        return name in self.values

    def value(self, name: str) -> str | None:
        """Return the only value of an option; None if it was not given."""
        return self.values[name][0] if name in self.values else None

    def value_or_default(self, name: str) -> str:
        """Return the (first) value of an option, or its default if it has none."""
        return next(iter(self.values_of(name)), BY_NAME[name].default)

    def values_of(self, name: str) -> tuple[str, ...]:
        """Return all values of an option."""
        return self.values.get(name, ())


@dataclass(slots=True)
class _Reading:
    """The options of one source, in order; flags that are off stay in it."""

    given: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    problems: list[str] = field(default_factory=list[str])

    def add(self, option: Option, value: str | None, said: str) -> None:
        """Add one option; ``said`` is the option as written."""
        if option.kind is OptionKind.FLAG:
            self._add_flag(option, value, said)
        elif value is None and option.kind is not OptionKind.OPTIONAL:
            self.problems.append(f"{said}: needs a value{_shape(option)}")
        elif option.kind is OptionKind.VALUE:
            self._add_once(option.name, value or "", said)
        else:
            self.given.setdefault(option.name, []).extend(_parts(value or ""))

    def _add_flag(self, option: Option, value: str | None, said: str) -> None:
        word = "yes" if value is None else value.lower()
        if word in _YES:
            self._add_once(option.name, "yes", said)
        elif word in _NO:
            self._add_once(option.name, "no", said)
        else:
            self.problems.append(f"{said}: takes yes or no, not {value!r}")

    def _add_once(self, name: str, value: str, said: str) -> None:
        before = self.given.setdefault(name, [value])
        if before != [value]:
            self.problems.append(f"{said}: given twice, as {before[0]!r} and as {value!r}")


def parse(argv: Sequence[str], read_file: Callable[[str], str]) -> tuple[GivenOptions, list[str]]:
    """Return the options of a command line, and the problems with its grammar.

    ``argv`` does not contain the program's name. The last word may be a configuration file.
    ``read_file`` returns its text or raises OSError or UnicodeDecodeError. The command line takes
    precedence over the file.
    """
    line = _Reading()
    files = list(_read_words(argv, line))
    if len(files) > 1:
        line.problems.append(
            f"{' '.join(files)}: unexpected; "
            "only one configuration file can be given, as the last word"
        )
    given = dict(line.given)
    if len(files) == 1:
        in_file = _read_file(files[0], read_file)
        given = {**in_file.given, **given}
        line.problems += in_file.problems
    off = frozenset(name for name, values in given.items() if _off(name, values))
    on = {name: tuple(values) for name, values in given.items() if name not in off}
    return GivenOptions(on, off), line.problems


def _off(name: str, values: Sequence[str]) -> bool:
    return BY_NAME[name].kind is OptionKind.FLAG and list(values) == ["no"]


def _read_words(argv: Sequence[str], reading: _Reading) -> Iterator[str]:
    """Read options; yield the other words."""
    waiting = list(argv)
    while waiting:
        word = waiting.pop(0)
        if word.startswith("--") and len(word) > 2:
            _read_long(word, waiting, reading)
        elif word.startswith("-") and len(word) > 1 and word != "--":
            _read_letters(word, waiting, reading)
        elif word != "--":
            yield word


def _read_long(word: str, waiting: list[str], reading: _Reading) -> None:
    said, equals, value = word.partition("=")
    option = BY_NAME.get(said[2:])
    if option is None:
        reading.problems.append(f"{said}: {_unknown(said[2:], '--')}")
        if not equals and waiting and not waiting[0].startswith("-"):
            waiting.pop(0)  # probably its value, and no file
    elif equals:
        reading.add(option, value, said)
    else:
        reading.add(option, _next_value(option, waiting), said)


def _read_letters(word: str, waiting: list[str], reading: _Reading) -> None:
    letters, equals, value = word[1:].partition("=")
    for place, letter in enumerate(letters, 1):
        said, last = f"-{letter}", place == len(letters)
        option = BY_LETTER.get(letter)
        if option is None:
            reading.problems.append(f"{said}: unknown option (in {word})")
        elif last and equals:
            reading.add(option, value, said)
        elif last:
            reading.add(option, _next_value(option, waiting), said)
        else:
            # Only the last letter of a cluster can have a value.
            reading.add(option, None, said)


def _next_value(option: Option, waiting: list[str]) -> str | None:
    if option.kind in (OptionKind.FLAG, OptionKind.OPTIONAL):
        return None
    if waiting and (not waiting[0].startswith("-") or waiting[0] == "-"):
        return waiting.pop(0)
    return None


def _read_file(path: str, read_file: Callable[[str], str]) -> _Reading:
    reading = _Reading()
    try:
        text = read_file(path)
    except OSError as error:
        reading.problems.append(f"{path}: cannot be read: {error.strerror or error}")
        return reading
    except UnicodeDecodeError:
        reading.problems.append(f"{path}: is not UTF-8 text")
        return reading
    for number, line in enumerate(text.splitlines(), 1):
        stripped = _without_comment(f" {line}").strip()
        if stripped:
            _read_line(stripped, f"{path}:{number}", reading)
    return reading


def _without_comment(line: str) -> str:
    """Cut a line at the first ``#`` that follows a blank, outside double quotes."""
    for mark in _COMMENT.finditer(line):
        if line.count('"', 0, mark.start()) % 2 == 0:
            return line[: mark.start()]
    return line


def _read_line(line: str, place: str, reading: _Reading) -> None:
    name, value = _split(line)
    option = BY_NAME.get(name.removeprefix("--"))
    if option is None:
        reading.problems.append(f"{place}: {name}: {_unknown(name.removeprefix('--'), '')}")
    else:
        value = None if value is None else _without_quotes(option, value)
        reading.add(option, value, f"{place}: {name}")


def _without_quotes(option: Option, value: str) -> str:
    """Remove quotes around a value; they keep its blanks.

    Around a filter with a comma they stay: its first part looks like a filter, and a later part
    does not. Everything else between quotes is a list.
    """
    if not (is_quoted(value) and '"' not in value[1:-1]):
        return value
    first, *others = map(looks_complete, _parts(value[1:-1]) or [""])
    return value if option.word == _FILTERS and first and not all(others) else value[1:-1]


def _split(line: str) -> tuple[str, str | None]:
    """Split ``name=value`` or ``name value``."""
    ends = [place for place, letter in enumerate(line) if letter in "= \t"]
    if not ends:
        return line, None
    name, rest = line[: ends[0]], line[ends[0] :].strip()
    return name, rest.removeprefix("=").strip()


def _parts(value: str) -> list[str]:
    return [part for part in split_list(value) if part]


def _shape(option: Option) -> str:
    return f", as in --{option.name} {option.word}" if option.word else ""


def _unknown(name: str, dashes: str) -> str:
    names = {known.replace("-", "_"): known for known in BY_NAME}
    if meant := suggest(name.replace("-", "_"), names):
        return f"unknown option; did you mean {dashes}{names[meant]}?"
    prefix, dash, known = name.partition("-")
    if dash and known in BY_NAME:
        return (
            f"instances with a prefix, such as {prefix}-, are not available yet in this version; "
            "run a command with a spool directory and ports of its own for each instance"
        )
    return "unknown option"
