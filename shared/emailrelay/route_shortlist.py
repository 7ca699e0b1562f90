"""Finds the few routes among many that may fit a message."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from emailrelay.address_pattern import ANYONE, key, keys_of


class Patterns(Protocol):
    """The conditions of a route; all three must fit."""

    @property
    def sender(self) -> Sequence[str]:
        """Patterns of senders."""
        ...

    @property
    def recipient(self) -> Sequence[str]:
        """Patterns of recipients."""
        ...

    @property
    def user(self) -> Sequence[str] | None:
        """The users; None: the user does not matter."""
        ...


class Shortlist:
    """The places of routes by the keys of their recipients, or else senders, or users."""

    def __init__(self, routes: Iterable[Patterns]) -> None:
        """Index each route once."""
        self._recipients = defaultdict[str, list[int]](list)
        self._senders = defaultdict[str, list[int]](list)
        self._users = defaultdict[str, list[int]](list)
        self._always: list[int] = []
        for place, route in enumerate(routes):
            self._enter(place, route)

    def _enter(self, place: int, route: Patterns) -> None:
        for table, wanted in (
            (self._recipients, {key(pattern) for pattern in route.recipient}),
            (self._senders, {key(pattern) for pattern in route.sender}),
            (
                self._users,
                {ANYONE} if route.user is None else {user.lower() for user in route.user},
            ),
        ):
            if ANYONE not in wanted:
                for one in wanted:
                    table[one].append(place)
                return
        self._always.append(place)

    def places(self, sender: str, recipient: str, user: str) -> list[int]:
        """Return the places of all routes that may fit, in order."""
        found = list(self._always)
        if self._recipients:
            found += _under(self._recipients, keys_of(recipient))
        if self._senders:
            found += _under(self._senders, keys_of(sender))
        if self._users:
            found += self._users.get(user.lower(), ())
        return sorted(found)


def _under(table: Mapping[str, list[int]], keys: Iterable[str]) -> Iterator[int]:
    for one in dict.fromkeys(keys):
        yield from table.get(one, ())
