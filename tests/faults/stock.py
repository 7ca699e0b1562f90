"""Mail that lies in a spool already: pairs written as another program would, without a sync."""

from collections.abc import Callable, Iterable
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


def lay_in(
    spool: Path,
    mails: Iterable[Mail],
    octets: Callable[[Mail], bytes] | None = None,
    suffix: str = "",
) -> dict[str, Mail]:
    """Put messages into a spool; give them by their own ids."""
    spool.mkdir(mode=0o770, exist_ok=True)
    common = envelope()
    laid = dict[str, Mail]()
    for mail in mails:
        name = f"{spool}/emailrelay.1.1.{mail.number}"
        # No Path objects: there may be a million.
        with open(f"{name}.content", "wb", buffering=0) as file:  # noqa: PTH123
            file.write(mail.content)
        with open(f"{name}.envelope{suffix}", "wb", buffering=0) as file:  # noqa: PTH123
            file.write(octets(mail) if octets else common)
        laid[mail.id] = mail
    return laid
