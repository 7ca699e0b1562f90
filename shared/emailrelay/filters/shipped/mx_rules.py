"""The servers of a domain, from its MX records, as plain rules (RFC 5321 section 5.1)."""

import re
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from emailrelay.address_pattern import split
from emailrelay.aliases import LOCALHOST
from emailrelay.envelope import Envelope
from emailrelay.filters.shipped.domain_name import ascii_domain

MOST_SERVERS = 5
PORT = 25
_HOST = re.compile(r"(?=.{1,253}$)(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]*[A-Za-z][A-Za-z0-9_-]*")
"""The name of a host; its last label is not a number, so it is not an IP address."""


class MxRecord(NamedTuple):
    """One MX record; the server with the lowest preference comes first."""

    preference: int
    host: str
    """Without the final dot; empty for "takes no mail" (RFC 7505)."""


class LoopsBack(Exception):
    """The best server of the domain is this host."""


class NoServers(Exception):
    """The records name no server that could be used."""


def target_domain(envelope: Envelope) -> str | None:
    """Return the domain to look up, as the DNS has it; None: the recipients have several."""
    if envelope.forward_to:
        return ascii_domain(envelope.forward_to)
    domains = {ascii_domain(split(address)[1]) for address in envelope.to_remote}
    return domains.pop() if len(domains) == 1 else None


def is_host(name: str) -> bool:
    """Tell whether a name can be that of a server: no address, and no local name."""
    return _HOST.fullmatch(name) is not None and name.lower() not in LOCALHOST


def servers(
    records: Iterable[MxRecord], own: Collection[str], chance: Callable[[], float]
) -> tuple[str, ...]:
    """Return the servers of a domain with their ports, the best one first.

    Those of equal preference are in random order. If this host is among them, by one of its names
    in ``own``, it and all that are not better are left out.

    Raises:
        LoopsBack: this host is the best one.
        NoServers: there is none.

    """
    fit = [record for record in records if is_host(record.host)]
    names = {name.lower() for name in own}
    mine = [record.preference for record in fit if record.host.lower() in names]
    better = [record for record in fit if not mine or record.preference < min(mine)]
    if fit and not better:
        raise LoopsBack
    if not better:
        raise NoServers
    ordered = sorted(better, key=lambda record: (record.preference, chance()))
    found = dict.fromkeys(f"{record.host.lower()}:{PORT}" for record in ordered)
    return tuple(found)[:MOST_SERVERS]
