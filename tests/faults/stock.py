"""Mail that is in a spool already: written as by another program, without a sync."""

import os
from collections.abc import Iterable
from pathlib import Path

from tests.acceptance.source import Mail

from emailrelay import envelope_format
from emailrelay.envelope import Address, Envelope


def envelope(*recipients: str, forward_to: str = "") -> bytes:
    """Give an envelope's octets."""
    return envelope_format.write(
        Envelope(
            sender=Address("sender@client.test"),
            to_remote=tuple(Address(r) for r in recipients or ("to@sink.test",)),
            forward_to_address=forward_to,
        )
    )


def lay_in(spool: Path, mails: Iterable[Mail]) -> dict[str, Mail]:
    """Put messages into a spool; give them by their own ids."""
    spool.mkdir(mode=0o770, exist_ok=True)
    common, laid = envelope(), dict[str, Mail]()
    for mail in mails:
        put_pair(str(spool), mail.number, mail.content, common)
        laid[mail.id] = mail
    return laid


def put_pair(spool: str, number: int, content: bytes, envelope: bytes) -> None:
    """Put one message there as ``1.1.number``. No Path objects: there may be a million."""
    name = f"{spool}/emailrelay.1.1.{number}"
    for suffix, octets in (("content", content), ("envelope", envelope)):
        file = os.open(f"{name}.{suffix}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o660)
        try:
            os.write(file, octets)
        finally:
            os.close(file)
