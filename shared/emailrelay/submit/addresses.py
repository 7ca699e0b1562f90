"""The addresses of a submitted message, made whole with this host's name."""

import re
from collections.abc import Iterable

from emailrelay.envelope import NULL_SENDER, Address
from emailrelay.submit.message import DataError

_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f<>\u2028\u2029]")


def qualified(text: str, host: str) -> Address:
    """Give a mailbox with its domain; ``<>`` and nothing are the null sender.

    Raises:
        DataError: it cannot stand on the wire.

    """
    bare = text.strip().removeprefix("<").removesuffix(">")
    if not bare:
        return NULL_SENDER
    if _UNSAFE.search(bare):
        raise DataError(f"{bare!a}: not an address")
    return Address(bare if "@" in bare else f"{bare}@{host}")


def recipients(texts: Iterable[str], lists: list[str], host: str) -> tuple[Address, ...]:
    """Give the recipients of the command line and of the header's address lists, each once.

    Raises:
        DataError: one of them cannot stand on the wire, or there is none.

    """
    found = [qualified(text, host) for text in texts]
    if lists:
        from email.utils import getaddresses  # noqa: PLC0415 - 10 ms that only -t needs

        found += [qualified(address, host) for _, address in getaddresses(lists) if address]
    unique = tuple(dict.fromkeys(address for address in found if address))
    if not unique:
        raise DataError("the message names no recipients")
    return unique
