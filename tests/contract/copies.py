"""Changes that filters make to a private copy."""

from tests.contract.mail import (
    BOB,
)

from emailrelay import envelope_format
from emailrelay.envelope import Address, Envelope
from emailrelay.store.claim import WorkCopy

ORIGINAL = b"Subject: original\r\n\r\noriginal\r\n"


REROUTED = Envelope(
    sender=Address("other@x.test"), to_remote=(BOB,), forward_to_address="127.0.0.1:2525"
)


def edit(copy: WorkCopy) -> None:
    """Change both files in place."""
    with copy.content.open("ab") as content:
        content.write(b"footer\r\n")
    copy.envelope.write_bytes(envelope_format.write(REROUTED))


def replace(copy: WorkCopy) -> None:
    """Put new files in place of both, as editors do."""
    directory = copy.content.parent
    (directory / "scratch").write_bytes(ORIGINAL + b"footer\r\n")
    (directory / "scratch").rename(copy.content)
    (directory / "scratch").write_bytes(envelope_format.write(REROUTED))
    (directory / "scratch").rename(copy.envelope)


def shorten(copy: WorkCopy) -> None:
    """Cut the content, and do not change the envelope."""
    copy.content.write_bytes(b"short")


def add_pair(copy: WorkCopy, name: str, content: bytes, suffix: str = "") -> None:
    """Put a new message beside the copy, as a filter that sends mail of its own does."""
    directory = copy.content.parent
    (directory / f"emailrelay.{name}.content").write_bytes(content)
    envelope = directory / f"emailrelay.{name}.envelope{suffix}"
    envelope.write_bytes(envelope_format.write(REROUTED))
