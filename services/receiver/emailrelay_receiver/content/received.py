"""The Received: line that is put in front of each message (RFC 5321 section 4.4)."""

import re
from email.utils import formatdate
from functools import lru_cache

from emailrelay.queue_id import QueueId

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_LONGEST_NAME = 255


def received_line(
    *, helo: str, client: str, domain: str, protocol: str, queue_id: QueueId, now: float
) -> bytes:
    """Return the line, folded, with its CRLF.

    ``client`` is the IP address of the client, or empty if it is private or unknown; ``protocol``
    is SMTP, ESMTP or a word of RFC 3848 and RFC 6531 section 4.3; ``now`` is seconds since 1970.
    ``helo`` goes in as far as it is a name.
    """
    name = _NOT_IN_A_NAME.sub("?", helo)[:_LONGEST_NAME]
    address = f" ({_literal(client)})" if client else ""
    return (
        f"Received: from {name}{address}\r\n"
        f"\tby {domain} with {protocol} id {queue_id};\r\n"
        f"\t{_date(int(now))}\r\n"
    ).encode()


def end_of_ours(content: bytes) -> bytes:
    """Return the octets that separate our line from a content: none, or the end of a header.

    A content whose first line cannot be a field (RFC 5322 section 2.2) has no header. Without an
    empty line, one that begins with a blank would be the rest of our line (section 2.2.3).
    ``content`` is at least the first line, or the first 64 KiB of it.
    """
    end = content.find(b"\r\n")
    if not content or end == 0:
        return b""
    first = content if end < 0 else content[:end]
    return b"\r\n" if first.startswith((b" ", b"\t")) or b":" not in first else b""


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    """Write a time (RFC 5322 section 3.3), once for all messages of a second."""
    return formatdate(second, localtime=True)


def _literal(address: str) -> str:
    """Write an IP address as a literal (RFC 5321 section 4.1.3)."""
    address = address.partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
