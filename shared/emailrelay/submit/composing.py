"""A submitted message from its parts: what the command line and the user's account add to the text."""

import os
import pwd
import socket
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO, NamedTuple

from emailrelay.envelope import Address
from emailrelay.submit import addresses, message
from emailrelay.submit.arguments import Arguments
from emailrelay.submit.message import Header, Origin


class Mail(NamedTuple):
    """A message whose body has not been read yet."""

    sender: Address
    recipients: tuple[Address, ...]
    header: Header
    body: Iterable[bytes]
    host: str
    user: str
    full_name: str

    def content(self, message_id: str) -> Iterator[bytes]:
        """Give the content in pieces, complete, with CRLF everywhere. Can be read once.

        Raises:
            DataError: the body cannot be sent.

        """
        origin = Origin(
            id=message_id,
            host=self.host,
            user=self.user,
            full_name=self.full_name,
            uid=os.getuid(),
            now=time.time(),
        )
        yield b"".join(self.header.completed(origin).fields) + b"\r\n"
        yield from self.body


def compose(arguments: Arguments, source: BinaryIO) -> Mail:
    """Read the header and settle who the message is from and for.

    Raises:
        DataError: no message can be made of it.

    """
    lines = message.lines(source, dots_end=arguments.dots_end)
    header, begun = message.take_header(lines)
    host = os.environ.get("EMAILRELAY_DOMAIN") or socket.gethostname()
    user, full_name = _account()
    lists = header.recipient_values() if arguments.from_header else []
    return Mail(
        sender=addresses.qualified(user if arguments.sender is None else arguments.sender, host),
        recipients=addresses.recipients(arguments.recipients, lists, host),
        header=header.without(b"bcc", b"resent-bcc") if arguments.from_header else header,
        body=message.body(chain(begun, lines)),
        host=host,
        user=user,
        full_name=full_name if arguments.full_name is None else arguments.full_name,
    )


def _account() -> tuple[str, str]:
    """Give the user's name and full name; containers run users that no table knows."""
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError:
        return f"user{os.getuid()}", ""
    return account.pw_name, account.pw_gecos.partition(",")[0]
