"""Aliases: the addresses of people who get the mail for names of this host, such as root.

A *local name* is an address without a domain, or at a name of this host. All other addresses stay
as they are, so an alias never takes away another host's mail.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, cast

from emailrelay.envelope import Address

EVERY_NAME = "*"
"""The alias of the local names without one of their own.

It does not apply to an address that the table itself gives. So ``root = "admin@example.net"`` leads
to the person, also at a host whose name is ``example.net``.
"""
LOCALHOST = ("localhost", "localhost.localdomain")
MOST_ADDRESSES = 1000
"""The most addresses of one name; further ones are left out."""


class Aliases(NamedTuple):
    """The aliases of a host. ``hosts`` are its names, in lower case."""

    table: Mapping[str, tuple[Address, ...]] = MappingProxyType({})
    """By names in lower case."""
    hosts: frozenset[str] = frozenset(LOCALHOST)

    @classmethod
    def of(cls, table: Mapping[str, Sequence[str]], *hosts: str) -> "Aliases":
        """Return the aliases in ``table`` for a host with these names."""
        aliases = {
            name.lower(): tuple(Address(target) for target in targets)
            for name, targets in table.items()
        }
        names = frozenset(name.lower() for name in (*LOCALHOST, *hosts) if name)
        return cls(MappingProxyType(aliases), names)

    def name(self, address: Address) -> str | None:
        """Return the local name in an address, in lower case; None: it is none of this host."""
        local, at, domain = address.rpartition("@")
        if not at:
            return address.lower()
        return local.lower() if domain.lower() in self.hosts else None

    def resolve(self, address: Address) -> tuple[Address, ...]:
        """Return the addresses that get the mail for an address: itself if no alias matches.

        Aliases of aliases are followed, each name once, so that a loop ends.
        """
        if not self.table:  # nearly always, and asked for each recipient
            return (address,)
        found, seen, waiting = dict[Address, None](), set[str](), [address]
        while waiting and len(found) < MOST_ADDRESSES:
            each = waiting.pop()
            name, targets = self.name(each), self._targets(each, in_table=bool(seen))
            if name is None or targets is None:
                found[each] = None
            elif name not in seen:
                seen.add(name)
                waiting.extend(reversed(targets))
        return tuple(found) or (address,)

    def _targets(self, address: Address, *, in_table: bool) -> tuple[Address, ...] | None:
        name = self.name(address)
        if not name:
            return None
        _, at, domain = address.rpartition("@")
        final = in_table and at and domain.lower() not in LOCALHOST
        return self.table.get(name, None if final else self.table.get(EVERY_NAME))


NO_ALIASES = Aliases()


def read_table(value: object) -> dict[str, list[str]]:
    """Read a table from a settings file, or a text such as ``root=a@x.org,b@x.org``.

    Raises:
        ValueError: it is neither, or has problems; the text names all of them.

    """
    if isinstance(value, str):
        pairs = [word.partition("=") for word in value.split()]
        items: list[tuple[object, object]] = [(name, targets) for name, _, targets in pairs]
    elif isinstance(value, dict):
        items = list(cast("dict[object, object]", value).items())
    else:
        raise ValueError('must be a table of names, each with an address: root = "a@example.com"')  # noqa: TRY004 -- a wrong setting
    table = {str(name): list(_targets(targets)) for name, targets in items}
    wrong = "; ".join(problems(table))
    if wrong:
        raise ValueError(wrong)
    return table


def _targets(value: object) -> Iterator[str]:
    each = cast("list[object]", value) if isinstance(value, list) else str(value).split(",")
    return (text for target in each if (text := str(target).strip()))


def problems(table: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the problems of a table: names that lead to no address with a domain."""
    aliases = Aliases.of(table)
    for name, targets in table.items():
        if name != EVERY_NAME and not _is_name(name):
            yield f"{name!a}: must be a name without a domain, such as root, or {EVERY_NAME}"
        elif not targets:
            yield f"{name!a}: must have an address"
        else:
            start = Address("other" if name == EVERY_NAME else name)
            lost = [end for end in aliases.resolve(start) if not _is_address(end)]
            if lost:
                yield f"{name!a}: leads to {lost[0]!a}, which is not an address with a domain"


def _is_address(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    plain = text.isascii() and text.isprintable() and not any(c in text for c in " <>,;")
    return bool(local and at and domain) and plain and not local.startswith("-")


def _is_name(name: str) -> bool:
    return name != "" and name.isprintable() and not any(c in name for c in '@ <>,;:"')
