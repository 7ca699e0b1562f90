"""The addresses of a submitted message; this host's name completes those without a domain."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from emailrelay.dsn_request import NO_REQUEST, DsnRequest, RecipientRequest
from emailrelay.envelope import MOST_RECIPIENTS, NULL_SENDER, Address
from emailrelay.envelope_format import to_xtext
from emailrelay.submit.address_list import AddressListError, Mailbox, mailboxes
from emailrelay.submit.message import DataError, Header

if TYPE_CHECKING:
    from emailrelay.aliases import Aliases

# Few messages need these patterns: ``re`` compiles them at first use.
_UNSAFE = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
_BLANK = r"\s"
_LONGEST_LOCAL_PART = 256
"""Octets; the receiver has the same limit."""
_LONGEST_DOMAIN = 255
_ATOM = r"[^\s()<>,;:\\\"@\[\]]+"


def sender(text: str, host: str) -> Address:
    """Return the envelope's sender; ``<>`` and an empty text are the null sender.

    Raises:
        DataError: the text is not exactly one address.

    """
    if text.strip() in ("", "<>"):
        return NULL_SENDER
    found = _list(text, "the sender", host)
    if len(found) != 1:
        raise DataError(f"the sender: {text!a}: not one address")
    return found[0][1]


def recipients(
    texts: Iterable[str],
    lists: Sequence[tuple[str, str]],
    host: str,
    aliases: "Aliases | None" = None,
) -> dict[Address, Address]:
    """Return the recipients of the command line and of the header's fields, each once.

    The value of each is the address that was given: another one if an alias stands for it.

    Args:
        texts: the arguments; each may be a list.
        lists: names and values of fields.
        host: the domain for addresses without one.
        aliases: the addresses of names of this host.

    Raises:
        DataError: one of them is not an address, or there is none; the text names the field.

    """
    given = [*(("the recipient", text) for text in texts), *lists]
    unique = dict[Address, Address]()
    for name, text in given:
        for mailbox, address in _list(text, name, host):
            for target in (address,) if aliases is None else _resolved(mailbox, address, aliases):
                unique.setdefault(target, address)
    if not unique:
        raise DataError("there is no recipient: name one as an argument, or use -t and a To: field")
    if len(unique) > MOST_RECIPIENTS:
        raise DataError(
            f"{len(unique)} recipients, at most {MOST_RECIPIENTS} are possible; split the list"
        )
    return unique


def named(recipients: Mapping[Address, Address]) -> DsnRequest:
    """Return the original addresses of recipients that have another one (RFC 3461 section 4.2)."""
    others = {address: given for address, given in recipients.items() if given != address}
    if not others:  # nearly always
        return NO_REQUEST
    return DsnRequest(
        recipients={
            address: RecipientRequest(original=f"rfc822;{to_xtext(given)}")
            for address, given in others.items()
        }
    )


def _list(text: str, place: str, host: str) -> list[tuple[Mailbox, Address]]:
    try:
        found = mailboxes(text)
    except AddressListError as error:
        raise DataError(f"{place}: {error}") from error
    return [(mailbox, _checked(mailbox, place, host)) for mailbox in found]


def _resolved(mailbox: Mailbox, address: Address, aliases: "Aliases") -> tuple[Address, ...]:
    """Return the addresses in place of one; without a domain it is a name, at any host."""
    given = address if mailbox.domain else Address(mailbox.local)
    found = aliases.resolve(given)
    return (address,) if found == (given,) else found


def _checked(mailbox: Mailbox, place: str, host: str) -> Address:
    """Refuse the addresses that the receiver would refuse in ``RCPT``."""
    local, domain = mailbox.local, mailbox.domain or host
    wrong = ""
    plain = mailbox.address.isascii() and mailbox.address.isprintable()
    if not plain and re.search(_UNSAFE, mailbox.address):
        wrong = "a character that is not allowed in an address (or not UTF-8)"
    elif re.search(_BLANK, domain) or (re.search(_BLANK, local) and '"' not in local):
        wrong = "a blank outside quotes"
    elif local.startswith("-"):
        wrong = "programs would read it as an option"
    elif len(local.encode()) > _LONGEST_LOCAL_PART or len(domain.encode()) > _LONGEST_DOMAIN:
        wrong = "too long"
    if wrong:
        raise DataError(f"{place}: {mailbox.address!a}: {wrong}")
    return Address(f"{local}@{domain}")


def local_part(user: str) -> str:
    """Return a user's name as the local part of an address, with quotes if needed."""
    if user.isalnum() or re.fullmatch(_ATOM, user):
        return user
    escaped = user.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def qualified(header: Header, host: str) -> Header:
    """Add the host as domain to the header's addresses without one (RFC 6409 section 4.2).

    A field whose addresses cannot be parsed stays as it is.
    """
    return header.with_addresses(lambda value: _qualified(value, host))


def _qualified(value: str, host: str) -> str:
    try:
        found = mailboxes(value)
    except AddressListError:
        return value
    pieces: list[str] = []
    done = 0
    for mailbox in found:
        if not mailbox.domain:
            pieces += value[done : mailbox.end], f"@{host}"
            done = mailbox.end
    return "".join((*pieces, value[done:]))
