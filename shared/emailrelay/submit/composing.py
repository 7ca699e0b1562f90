"""Builds a submitted message from its text, the command line and the user's account."""

import os
import pwd
import re
import socket
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from emailrelay.dsn_request import DsnRequest
from emailrelay.envelope import Address
from emailrelay.errors import ConfigError
from emailrelay.submit import addresses, message
from emailrelay.submit.arguments import Arguments, UsageError
from emailrelay.submit.message import Header, Origin

if TYPE_CHECKING:
    from emailrelay.aliases import Aliases

_LONGEST_DOMAIN = 255
_NO_DOMAIN = r"[\s()<>,;:\\\"@\[\]\x00-\x1f\x7f-\x9f\ud800-\udfff]"


class Mail(NamedTuple):
    """A message whose body has not been read yet."""

    sender: Address
    recipients: tuple[Address, ...]
    dsn: DsnRequest
    """The names in whose place recipients stand, for notices and the history."""
    header: Header
    body: Iterable[bytes]
    host: str
    address: str
    """The address for a missing ``From:``."""
    full_name: str

    def content(self, message_id: str) -> Iterator[bytes]:
        """Yield the complete content in pieces, with CRLF line ends. Call it once.

        Raises:
            DataError: the body cannot be sent.

        """
        origin = Origin(
            id=message_id,
            host=self.host,
            address=self.address,
            full_name=self.full_name,
            uid=os.getuid(),
            now=time.time(),
        )
        yield b"".join(self.header.completed(origin).fields) + b"\r\n"
        yield from self.body


def compose(
    arguments: Arguments, source: BinaryIO, domain: str | None = None, aliases: object = None
) -> Mail:
    """Read the header, and determine the sender and the recipients.

    ``domain``: this host's name in its settings, for addresses without a domain. ``aliases``: the
    setting of this name.

    Raises:
        DataError: the text is not a message that can be sent.
        NoInput: standard input cannot be read.
        UsageError: this host's name is not a domain.
        ConfigError: the aliases are wrong.

    """
    lines = message.lines(source, dots_end=arguments.dots_end)
    header, begun = message.take_header(lines)
    host = _host(arguments.domain or domain)
    user, full_name = _account()
    address = Address(f"{addresses.local_part(user)}@{host}")
    sender = address if arguments.sender is None else addresses.sender(arguments.sender, host)
    fields = header.recipient_fields() if arguments.from_header else []
    kept = header.without(b"bcc", b"resent-bcc")
    recipients = addresses.recipients(
        arguments.recipients, fields, host, _aliases(aliases, arguments.domain or domain)
    )
    return Mail(
        sender=sender,
        recipients=tuple(recipients),
        dsn=addresses.named(recipients),
        header=addresses.qualified(kept, host),
        body=message.body(chain(begun, lines)),
        host=host,
        address=sender or address,
        full_name=full_name if arguments.full_name is None else arguments.full_name,
    )


def _aliases(given: object, domain: str | None) -> "Aliases | None":
    if not given:
        return None
    from emailrelay.aliases import Aliases, read_table  # noqa: PLC0415 - few hosts have aliases

    try:
        return Aliases.of(read_table(given), socket.gethostname(), domain or "")
    except ValueError as error:
        raise ConfigError([f"aliases: {error}"]) from error


def _host(given: str | None) -> str:
    """Return the domain for addresses without one."""
    host = given or _mail_name() or socket.gethostname()
    if len(host) > _LONGEST_DOMAIN or (not host.isalnum() and re.search(_NO_DOMAIN, host)):
        raise UsageError(f"{host!a}: not a domain; use --domain NAME, or set domain")
    return host


def _mail_name() -> str:
    """Return the mail name of this host (Debian policy 11.6), or ""."""
    try:
        with open("/etc/mailname", encoding="utf-8") as file:
            return file.readline(_LONGEST_DOMAIN + 1).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _account() -> tuple[str, str]:
    """Return the user's name and full name; users in containers may have no account entry."""
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError:
        return f"user{os.getuid()}", ""
    return account.pw_name, account.pw_gecos.partition(",")[0]
