"""Limits on the logins of each source: the number at a time, and the pause after failures.

Each process counts for itself, so several workers allow a guesser that many times more. The records
are bounded, and are forgotten over time.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

_AT_ONCE = 10
"""Logins of one source under way. A failed one is so until its pause has passed."""
_AT_ONCE_OF_NAME = 5
"""The same for one name of a source, so that guesses at one name do not keep out the others."""
_MOST_FAILURES = 30
"""Further failures of a source do not lengthen the pause."""
_FORGIVEN = 60.0
"""Seconds after which one failure of a source is forgotten."""
_MOST_REMEMBERED = 10_000
"""Sources with failures, and names that have logged in, each with its source."""

_Party: TypeAlias = tuple[str, str]
"""A source; with a name if that name has logged in from there, else with an empty one."""


@dataclass(slots=True)
class LoginAttempts:
    """The logins of all sessions of one process.

    A name that has once logged in from a source is counted apart from the other names there, so
    guesses from the same address do not keep it out.
    """

    clock: Callable[[], float]
    """Seconds that only grow."""
    _known: OrderedDict[_Party, None] = field(default_factory=OrderedDict[_Party, None])
    _homes: OrderedDict[_Party, None] = field(default_factory=OrderedDict[_Party, None])
    """Sources with a successful login, each with an empty name."""
    _failures: OrderedDict[_Party, tuple[float, float]] = field(
        default_factory=OrderedDict[_Party, tuple[float, float]]
    )
    """Their number, and the time for which it holds."""
    _of_party: Counter[_Party] = field(default_factory=Counter[_Party])
    _of_name: Counter[_Party] = field(default_factory=Counter[_Party])

    def begin(self, source: str, user: str) -> "LoginAttempt | None":
        """Begin an attempt; None: too many are under way. A ``LoginAttempt`` must be ended."""
        party, name = self._party(source, user), (source, user)
        if self._of_party[party] >= _AT_ONCE or self._of_name[name] >= _AT_ONCE_OF_NAME:
            return None
        self._of_party[party] += 1
        self._of_name[name] += 1
        return LoginAttempt(self, party, name, known=bool(party[1]))

    def failed(self, source: str, user: str = "") -> float:
        """Count a failure; return how many of this source count now."""
        party, now = self._party(source, user), self.clock()
        count, at = self._failures.pop(party, (0.0, now))
        count = min(max(count - (now - at) / _FORGIVEN, 0.0) + 1, _MOST_FAILURES)
        self._failures[party] = count, now
        _bound(self._failures)
        return count

    def succeeded(self, source: str, user: str) -> None:
        """Remember that a name has logged in from a source."""
        for remembered, party in ((self._known, (source, user)), (self._homes, (source, ""))):
            remembered[party] = None
            remembered.move_to_end(party)
            _bound(remembered)

    def knows(self, source: str) -> bool:
        """Return whether there was a successful login from a source."""
        return (source, "") in self._homes

    def end(self, party: _Party, name: _Party) -> None:
        """Free the places of an attempt."""
        for counter, key in ((self._of_party, party), (self._of_name, name)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]

    def _party(self, source: str, user: str) -> _Party:
        return (source, user) if (source, user) in self._known else (source, "")


@dataclass(slots=True)
class LoginAttempt:
    """One login under way."""

    _attempts: LoginAttempts
    _party: _Party
    _name: _Party
    known: bool
    """This name has logged in from this source before."""

    def end(self) -> None:
        """Free its places."""
        self._attempts.end(self._party, self._name)


def _bound(
    remembered: OrderedDict[_Party, None] | OrderedDict[_Party, tuple[float, float]],
) -> None:
    """Forget the records that were not used for the longest time."""
    while len(remembered) > _MOST_REMEMBERED:
        remembered.popitem(last=False)
