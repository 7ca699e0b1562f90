"""The map of ``rewrite:``: other addresses for addresses, domains and names of this host."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from emailrelay.address_pattern import split
from emailrelay.aliases import LOCALHOST
from emailrelay.envelope import Address
from emailrelay.errors import RelayError

_MOST = 1000
"""The most addresses for one; further ones are left out."""
_MOST_PROBLEMS = 5
_LOCAL = r"[^\s<>,;:()\[\]\\\"@]+"
_DOMAIN = r"[^\s<>,;:()\[\]\\\"@.]+(?:\.[^\s<>,;:()\[\]\\\"@.]+)*"
_PATTERN = re.compile(rf"{_LOCAL}(?:@{_DOMAIN})?|@{_DOMAIN}")
_TARGET = re.compile(rf"(?:{_LOCAL})?@{_DOMAIN}")


class RewriteMapUnusable(RelayError):
    """A map cannot be used; the text names the lines."""


class RewriteMap(NamedTuple):
    """A map: by pattern in lower case, the addresses that take its place."""

    targets: Mapping[str, tuple[str, ...]]
    hosts: frozenset[str]
    """The names of this host, in lower case."""

    def resolve(self, address: Address) -> tuple[Address, ...]:
        """Return the addresses that take the place of one: itself, if nothing matches.

        Their own entries are followed, each address once: one that leads to itself stays.
        """
        found, seen, waiting = dict[Address, None](), set[Address](), [address]
        while waiting and len(found) < _MOST:
            each = waiting.pop()
            targets = self._of(each)
            if not targets or each in seen:
                found[each] = None
            else:
                seen.add(each)
                waiting += reversed(targets)
        return tuple(found)

    def one(self, address: Address) -> Address:
        """Return the address that takes the place of a sender; several cannot."""
        found = self.resolve(address)
        return found[0] if len(found) == 1 else address

    def _of(self, address: Address) -> tuple[Address, ...]:
        local, domain = split(address.lower())
        here = not domain or domain in self.hosts
        for pattern in (address.lower(), local if here else "", f"@{domain}"):
            if pattern in self.targets:
                kept = split(address)[0]
                targets = self.targets[pattern]
                return tuple(Address(kept + t if t.startswith("@") else t) for t in targets)
        return ()


def parse_map(text: str, host: str) -> RewriteMap:
    """Read a map: in each line a pattern, blanks, and addresses with commas between.

    Raises:
        RewriteMapUnusable: some lines are wrong; the text has the first of them.

    """
    targets, wrong = dict[str, tuple[str, ...]](), list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        pattern, *rest = line.split(None, 1)
        found = tuple(each.strip() for each in rest[0].split(",")) if rest else ()
        problem = next(_problems(pattern, found, targets), None)
        if problem:
            wrong.append(f"line {number}: {problem}")
        targets[pattern.lower()] = found
    if wrong:
        more = f"; and {len(wrong) - _MOST_PROBLEMS} more" if len(wrong) > _MOST_PROBLEMS else ""
        raise RewriteMapUnusable("; ".join(wrong[:_MOST_PROBLEMS]) + more)
    return RewriteMap(targets, frozenset({*LOCALHOST, host.lower()}))


def _problems(pattern: str, found: tuple[str, ...], known: Mapping[str, object]) -> Iterator[str]:
    if not pattern.isprintable() or not _PATTERN.fullmatch(pattern):
        yield f"{pattern[:80]!a}: must be user@domain, @domain, or a name of this host"
    elif pattern.lower() in known:
        yield f"{pattern}: is there twice"
    elif not found:
        yield f"{pattern}: has no address"
    for target in found:
        if not target.isprintable() or not _TARGET.fullmatch(target):
            yield f"{target[:80]!a}: must be user@domain, or @domain, which keeps the user"
