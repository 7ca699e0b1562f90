"""The published states of a spool directory, as sets of names, and other entries beside them."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias


class State(StrEnum):
    """A state of ``docs/spool.md``; GONE is the end of all of them."""

    DRAFT = "S0"
    UNFILTERED = "S1"
    READY = "S2"
    FAILED = "S4"
    HELD = "S5"
    GONE = "gone"


Names: TypeAlias = frozenset[str]
"""The names of a message: a suffix of its envelope or ``content``, behind the directory."""

_PAIRS: Mapping[Names, State] = {
    frozenset({".new/envelope"}): State.DRAFT,
    frozenset({".new/envelope", ".new/content"}): State.DRAFT,
    # Committed; the content goes ahead of the envelope, whose name decides.
    frozenset({".new/envelope", "content"}): State.DRAFT,
    frozenset({"envelope.filter", "content"}): State.UNFILTERED,
    frozenset({"envelope", "content"}): State.READY,
    frozenset({"envelope.bad", "content"}): State.FAILED,
    frozenset({"envelope.hold", "content"}): State.HELD,
    # The envelope is removed before the content.
    frozenset({"content"}): State.GONE,
    frozenset(): State.GONE,
}
_BESIDE: Mapping[str, frozenset[State]] = {
    # Until its maker, or the next sweep, removes it.
    ".work/run": frozenset(State) - {State.DRAFT},
    ".work/new": frozenset(State) - {State.DRAFT},
    ".work/adopt": frozenset(State) - {State.DRAFT},
    ".waiting/": frozenset(State),
    ".waiting/answer": frozenset(State),
    ".waiting/withdrawn": frozenset(State),
    ".waiting/reply": frozenset(State),
    ".waiting/new": frozenset(State),
    ".dsn/": frozenset({State.FAILED, State.GONE}),
}
"""The files that a message may have beside its pair, by state."""
_ADOPTING = frozenset({"envelope.filter"})
"""The names beside ``.work/adopt`` while, with a log, a result takes the place of a content."""

_ID = r"(?P<id>[0-9]+\.[0-9]+\.[0-9]+)"
_PATTERNS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "": (re.compile(rf"emailrelay\.{_ID}\.(?P<what>content|envelope(\.filter|\.bad|\.hold)?)"), ""),
    ".new": (re.compile(rf"emailrelay\.{_ID}\.(?P<what>content|envelope)"), ".new/"),
    ".work": (re.compile(rf"{_ID}\.(?P<what>run(?=-)|new|adopt)(?:(?<=run)-\d+)?"), ".work/"),
    ".waiting": (re.compile(rf"{_ID}(\.(?P<what>answer|withdrawn|reply|new))?"), ".waiting/"),
    ".dsn": (re.compile(rf"{_ID}\.(relay|local)(?P<what>)"), ".dsn/"),
}
PRIVATE = frozenset({".wake", ".doubt", ".history", ".recipients", ".slots", ".tokens", ".wal"})
"""Directories whose entries belong to no message."""
FILES = frozenset({".unfiltered"})


class Illegal(Exception):
    """A spool was in a state that is not published."""


def listed(spool: Path) -> list[str]:
    """List all names of a spool, relative to it."""
    found: list[str] = []
    for name in _names(spool):
        found.append(name)
        if name in _PATTERNS:
            found += (f"{name}/{entry}" for entry in _names(spool / name))
    return sorted(found)


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 -- names are wanted
    except FileNotFoundError:
        return []


def states(names: Iterable[str]) -> dict[str, State]:
    """Give each message's state, by its id.

    Raises:
        Illegal: something is not as the table says.

    """
    return {message: _state(message, places) for message, places in _messages(names).items()}


def _messages(names: Iterable[str]) -> dict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for message, place in _places(names):
        found[message].add(place)
    return found


def _places(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        directory, _, base = name.rpartition("/")
        if not directory and (base in _PATTERNS or base in PRIVATE or base in FILES):
            continue
        pattern, prefix = _PATTERNS[directory]
        match = pattern.fullmatch(base)
        if match is None:
            raise Illegal(f"{name}: no name of a spool")
        yield match["id"], f"{prefix}{match['what'] or ''}"


def _state(message: str, places: set[str]) -> State:
    pair = frozenset(place for place in places if place not in _BESIDE)
    state = _PAIRS.get(pair)
    if pair == _ADOPTING and ".work/adopt" in places:
        state = State.UNFILTERED
    if state is None:
        raise Illegal(f"{message} is {sorted(pair)}")
    for place in places - pair:
        if state not in _BESIDE[place]:
            raise Illegal(f"{message} has {place} though it is {state}")
    return state


def look(spool: Path) -> dict[str, State]:
    """Look at a spool that others may be changing: only an entry that is seen twice was there.

    Raises:
        Illegal: a state that is not published lasted.

    """
    names: list[str] | None = None
    while True:
        before, names = names, listed(spool)
        try:
            return states(names)
        except Illegal:
            if names == before:
                raise
