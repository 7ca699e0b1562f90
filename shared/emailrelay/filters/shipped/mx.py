"""``mx:`` on a message: its next servers are those of the recipients' domain.

The only module that uses dnspython, an extra that is imported late.
"""

import asyncio
import random
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING

from emailrelay.errors import RelayError
from emailrelay.filters.copy import FilterCopy, FilteredMail
from emailrelay.filters.result import read_envelope
from emailrelay.filters.shipped.envelope_edit import write_envelope
from emailrelay.filters.shipped.header_block import ContentRefused
from emailrelay.filters.shipped.mx_rules import (
    LoopsBack,
    MxRecord,
    NoServers,
    is_host,
    servers,
    target_domain,
)
from emailrelay.filters.shipped.parameters import MxFilter
from emailrelay.reply import Reply

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

_LIFETIME = 20.0
"""Seconds for one question, over all name servers."""
_UNKNOWN = Reply(550, "5.1.2 no such domain")
_NO_MAIL = Reply(556, "5.1.10 domain accepts no mail (null MX)")
_LOOPS = Reply(554, "5.4.6 mail for this domain loops back to this host")


class MxUnknown(RelayError):
    """The servers of the domain cannot be found now."""


async def route(one: MxFilter, copy: FilterCopy, mail: FilteredMail) -> None:
    """Write the servers of the recipients' domain into the envelope, unless it names one.

    Raises:
        MxUnknown: they cannot be found now.
        ContentRefused: the domain does not exist, or takes no mail.
        DamagedMessage: an earlier filter has damaged the files.
        OSError: the system's fault.

    """
    envelope = await asyncio.to_thread(read_envelope, copy.envelope)
    if envelope.forward_to_address or not envelope.to_remote:
        return
    domain = target_domain(envelope)
    if domain is None:
        raise MxUnknown("the recipients have several domains: use the filter split: before mx:")
    found = await _servers(one, domain, mail.host)
    new = envelope._replace(forward_to_address=",".join(found))
    await asyncio.to_thread(write_envelope, copy, new)


def missing_library() -> str:
    """Return the reason for which nothing can be looked up, or an empty text."""
    if find_spec("dns") is None:
        return "mx: needs the package dnspython: pip install 'emailrelay[mx]'"
    return ""


async def _servers(one: MxFilter, domain: str, host: str) -> tuple[str, ...]:
    if problem := missing_library():
        raise MxUnknown(problem)
    if not is_host(domain):
        raise ContentRefused(_UNKNOWN, f"{domain[:80]!a}: is not a domain to look up")
    records = await _records(one, domain)
    if [record.host for record in records] == [""]:
        raise ContentRefused(_NO_MAIL, f"{domain}: takes no mail (RFC 7505)")
    # The full name may be looked up in the DNS.
    own = {host, socket.gethostname(), await asyncio.to_thread(socket.getfqdn)}
    try:
        return servers(records, own, random.random)
    except LoopsBack as error:
        raise ContentRefused(_LOOPS, f"{domain}: this host is its best server") from error
    except NoServers as error:
        raise ContentRefused(_UNKNOWN, f"{domain}: has no server of a proper name") from error


async def _records(one: MxFilter, domain: str) -> list[MxRecord]:
    """Return the MX records; without any, the domain's own host is its server (RFC 5321 5.1)."""
    from dns.exception import DNSException  # noqa: PLC0415 -- an extra
    from dns.resolver import NXDOMAIN, NoAnswer  # noqa: PLC0415

    try:
        resolver = _resolver(one)
        try:
            answer = await resolver.resolve(domain, "MX", search=False, lifetime=_LIFETIME)
        except NoAnswer:
            return [MxRecord(0, domain)] if await _has_address(resolver, domain) else []
        return [
            MxRecord(int(each.preference), str(each.exchange).rstrip("."))  # pyright: ignore[reportAttributeAccessIssue,reportUnknownArgumentType,reportUnknownMemberType] -- records have their own fields
            for each in answer
        ]
    except NXDOMAIN as error:
        raise ContentRefused(_UNKNOWN, f"{domain}: there is no such domain") from error
    except (DNSException, OSError, UnicodeError) as error:
        raise MxUnknown(f"{domain}: cannot be looked up: {str(error)[:200]}") from error


async def _has_address(resolver: "Resolver", domain: str) -> bool:
    from dns.resolver import NoAnswer  # noqa: PLC0415 -- an extra

    for kind in ("A", "AAAA"):
        try:
            await resolver.resolve(domain, kind, search=False, lifetime=_LIFETIME)
        except NoAnswer:
            continue
        return True
    return False


def _resolver(one: MxFilter) -> "Resolver":
    from dns.asyncresolver import Resolver  # noqa: PLC0415 -- an extra

    if one.name_server is None:
        return Resolver()
    resolver = Resolver(configure=False)
    resolver.nameservers = [one.name_server.host]
    resolver.port = int(one.name_server.port)
    return resolver
