"""Chooses the route of each recipient.

Routes are looked up at each attempt and never written into queued mail, so a corrected route also
applies to waiting mail. The first route in the order of the file that matches a recipient takes it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from emailrelay.address_pattern import ANYONE, key, keys_of, matches, split
from emailrelay.envelope import Address, Envelope
from emailrelay.schedule import Schedule

DEFAULT, ADDRESS = "default", "address"
"""The names of the route to ``forward_to``, and of a route to a server named by an envelope."""

_RATE = re.compile(r"([0-9]{1,6})/([0-9]{0,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``messages`` in any ``seconds``."""

    messages: int
    seconds: float

    def __str__(self) -> str:
        """Write the rate for people."""
        return f"{self.messages} in {self.seconds:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route: the mail that it is for, its servers, and its settings for them."""

    name: str
    smarthosts: tuple[str, ...]
    """The servers as ``host:port`` or path, the preferred one first."""
    sender: tuple[str, ...] = (ANYONE,)
    recipient: tuple[str, ...] = (ANYONE,)
    user: tuple[str, ...] | None = None
    """None: the user does not matter."""
    account: str | None = None
    tls: str | None = None
    """off, opportunistic, required or implicit; None: as for all servers."""
    tls_verify: bool | None = None
    connections: int | None = None
    """The most connections at a time, over all processes."""
    rate: Rate | None = None
    schedule: Schedule = field(default_factory=Schedule)
    envelope_from: str | None = None
    """Replaces the envelope sender, if an address; if a domain, replaces the sender's domain."""

    def __hash__(self) -> int:
        # Routes are looked up for every message; to hash all fields would take longer than the
        # look-up.
        return hash(self.name)


class Choice(NamedTuple):
    """A route, and the reason; None: no route matches, and there is no default."""

    route: Route | None
    why: str


class Shortlist:
    """Finds the few routes among many that may match a message.

    It has the places of routes by the keys of their recipients, or else senders, or users.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        """Index each route once."""
        self._recipients = defaultdict[str, list[int]](list)
        self._senders = defaultdict[str, list[int]](list)
        self._users = defaultdict[str, list[int]](list)
        self._always: list[int] = []
        for place, route in enumerate(routes):
            self._enter(place, route)

    def _enter(self, place: int, route: Route) -> None:
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
        """Return the places of all routes that may match, in order."""
        found = list(self._always)
        if self._recipients:
            found += _under(self._recipients, keys_of(recipient))
        if self._senders:
            found += _under(self._senders, keys_of(sender))
        if self._users:
            found += self._users.get(user.lower(), ())
        return sorted(found)


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes in their order, and the default route."""

    listed: tuple[Route, ...] = ()
    default: Route | None = None
    _shortlist: Shortlist = field(init=False, repr=False, compare=False)
    _otherwise: Choice = field(init=False, repr=False, compare=False)
    """The choice where no route matches."""

    def __post_init__(self) -> None:
        """Build the index, so that not all routes must be compared for each recipient."""
        object.__setattr__(self, "_shortlist", Shortlist(self.listed))
        none = "no [[route]] matches" if self.listed else "there are no [[route]] tables"
        why = "and forward_to is not set" if self.default is None else "so forward_to is used"
        object.__setattr__(self, "_otherwise", Choice(self.default, f"{none}, {why}"))

    @property
    def every(self) -> tuple[Route, ...]:
        """The routes in their order, and then the default route if there is one."""
        return self.listed if self.default is None else (*self.listed, self.default)

    def of_all(self, envelope: Envelope) -> Choice | None:
        """Return the choice that holds for every recipient; None: it may differ between them."""
        if self.listed or envelope.forward_to_address or envelope.account_selector:
            return None
        return self._otherwise

    def choose(self, envelope: Envelope, recipient: Address) -> Choice:
        """Choose the route of one recipient.

        A server in the envelope takes precedence (``ForwardToAddress``, set by a filter). A domain
        in it (``ForwardTo``) replaces the recipient. An account in it is used on any route.
        """
        choice = self._choose(envelope, recipient)
        if choice.route is None or not envelope.account_selector:
            return choice
        route = replace(choice.route, account=envelope.account_selector)
        return Choice(route, f"{choice.why}; the envelope names the account {route.account}")

    def passed_over(self, envelope: Envelope, recipient: Address) -> list[tuple[Route, str]]:
        """Return the routes before the chosen one, and why each does not match."""
        passed: list[tuple[Route, str]] = []
        for route in () if envelope.forward_to_address else self.listed:
            fits, why = _judged(route, envelope, _addressed(envelope, recipient))
            if fits:
                break
            passed.append((route, why))
        return passed

    def _choose(self, envelope: Envelope, recipient: Address) -> Choice:
        if envelope.forward_to_address:
            return self._to_address(envelope.forward_to_address)
        target = _addressed(envelope, recipient)
        for place in self._shortlist.places(envelope.sender, target, envelope.authentication):
            fits, why = _judged(self.listed[place], envelope, target)
            if fits:
                return Choice(self.listed[place], why)
        return self._otherwise

    def _to_address(self, named: str) -> Choice:
        # Several servers have commas between, the best one first. A socket's path has none.
        servers = (named,) if named.startswith("/") else tuple(named.split(","))
        # The credentials and limits of the default route are for its own servers.
        usual = self.default or Route(name=ADDRESS, smarthosts=())
        route = replace(
            usual, name=ADDRESS, smarthosts=servers, account=None, connections=None, rate=None
        )
        return Choice(route, "the envelope names the server (ForwardToAddress)")


def only(server: str, schedule: Schedule) -> Routes:
    """Return the routes with one server for all mail."""
    return Routes(default=Route(name=DEFAULT, smarthosts=(server,), schedule=schedule))


class RouteGroup(NamedTuple):
    """The recipients of one attempt on one route, and why that was chosen."""

    route: Route | None
    why: str
    recipients: tuple[Address, ...]


def by_route(routes: Routes, envelope: Envelope, recipients: Sequence[Address]) -> list[RouteGroup]:
    """Group recipients by route, in the order of the first recipient of each."""
    same = routes.of_all(envelope)
    if same is not None:
        return [RouteGroup(same.route, same.why, tuple(recipients))] if recipients else []
    found: dict[Route | None, tuple[str, list[Address]]] = {}
    for recipient in recipients:
        choice = routes.choose(envelope, recipient)
        found.setdefault(choice.route, (choice.why, []))[1].append(recipient)
    return [RouteGroup(route, why, tuple(group)) for route, (why, group) in found.items()]


def sender_on(route: Route, sender: Address) -> Address:
    """Return the envelope sender for the servers of this route; the null sender stays."""
    rewritten = route.envelope_from
    if not sender or rewritten is None:
        return sender
    return Address(rewritten if "@" in rewritten else f"{split(sender)[0]}@{rewritten}")


def parse_rate(text: str) -> Rate:
    """Read ``30/m`` (30 messages in a minute), ``500/10m``, ``2000/d``.

    Raises:
        ValueError: the text has another form.

    """
    match = _RATE.fullmatch(text)
    if match is None or not int(match[1]) or not int(match[2] or 1):
        raise ValueError("write messages and time, as in 30/m, 500/10m, 1000/h or 2000/d")
    return Rate(int(match[1]), float(int(match[2] or 1) * _SECONDS[match[3]]))


def _addressed(envelope: Envelope, recipient: Address) -> str:
    """Return the text to compare recipient patterns with; a bare domain as ``@domain``."""
    target = envelope.forward_to or recipient
    return target if target == "" or "@" in target else f"@{target}"


def _judged(route: Route, envelope: Envelope, target: str) -> tuple[bool, str]:
    """Tell whether a route matches, and why or why not."""
    reasons: list[str] = []
    if route.user is not None:
        user = envelope.authentication.lower()
        fits = next((p for p in route.user if user and p.lower() in (ANYONE, user)), None)
        if fits is None:
            who = f"{envelope.authentication} logged in" if user else "no user logged in"
            return False, f"{who}, not {' or '.join(route.user)}"
        reasons.append(f"its user {fits} logged in")
    for what, patterns, value in (
        ("sender", route.sender, envelope.sender),
        ("recipient", route.recipient, target),
    ):
        fits = next((p for p in patterns if matches(p, value)), None)
        if fits is None:
            return False, f"its {what} pattern {' or '.join(patterns)} does not match"
        if fits != ANYONE:
            reasons.append(f"its {what} pattern {fits} matches")
    return True, " and ".join(reasons) or "it takes all mail"


def _under(table: Mapping[str, list[int]], keys: Iterable[str]) -> Iterator[int]:
    for one in dict.fromkeys(keys):
        yield from table.get(one, ())
