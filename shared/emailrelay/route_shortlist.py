"""Finds the few routes that may take a message, however many there are."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from emailrelay.address_pattern import ANYONE, key, keys_of


class Patterns(Protocol):
    """Whom a route is for; all three must fit."""

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
        """Who may have logged in; None: it does not matter."""
        ...


class Shortlist:
    """Where each route stands under what it asks for: its recipients, or else its senders, or users."""

    def __init__(self, routes: Iterable[Patterns]) -> None:
        """Look at each route once."""
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
        """Give the places of all routes that may fit, in order; those left out do not."""
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
