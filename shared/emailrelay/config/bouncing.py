"""The settings about mail that fails, and about mail for names of this host."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from emailrelay.aliases import read_table
from emailrelay.config.declared import Declared
from emailrelay.config.values import Flag, Metavar, PositiveCount, comma_list

_MONTH = 30 * 86400.0


def _addresses(texts: list[str]) -> list[str]:
    for text in texts:
        local, at, domain = text.rpartition("@")
        if not (local and at and domain and text.isprintable() and " " not in text):
            raise ValueError(f"{text!a}: must be an address, such as admin@example.com")
    return texts


AliasTable: TypeAlias = Annotated[
    dict[str, list[str]],
    BeforeValidator(read_table),
    Metavar("NAME=ADDRESS,..."),
]
Mailboxes: TypeAlias = Annotated[
    list[str], BeforeValidator(comma_list), AfterValidator(_addresses), Metavar("ADDRESS,...")
]


class AliasOptions(Declared):
    """Mail for names of this host."""

    aliases: AliasTable = Field(default={}, examples=[{"root": ["admin@example.com"]}])
    """The people who get the mail for names of this host, such as root: a table of names, each with
    an address or a list of addresses. A name matches an address without a domain, or at localhost
    or this host's name. The name * matches all others. An address can be another name of the table.
    In a variable or flag: root=ann@example.com,bob@example.com www-data=ann@example.com."""


class BounceOptions(Declared):
    """Failed mail."""

    bounces: Flag = True
    """Send a notice to the sender of each message that fails. no: emailrelay-notify does it."""

    bounces_per_hour: PositiveCount = 10
    """The maximum number of notices to one address within an hour. If more messages fail, the next
    notice is about all of them, an hour after the first of them failed."""

    postmaster: Mailboxes = Field(default=[], examples=[["admin@example.com"]])
    """The addresses that get a copy of notices that fail themselves, and the notices to senders
    that only this host knows. By default, these messages stay in the store as failed, and only the
    log tells of them."""

    keep_failed: Annotated[float, Field(ge=0, allow_inf_nan=False), Metavar("SECONDS")] = _MONTH
    """The time for which a failed message stays in the store after its sender was notified, or
    after it was found that the sender wants no notice (30 days). Then it is removed. 0: for ever. A
    message whose sender could not be notified is never removed."""
