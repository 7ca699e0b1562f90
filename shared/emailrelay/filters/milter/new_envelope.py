"""A milter's changes of the envelope; no I/O."""

from collections.abc import Container, Sequence
from typing import assert_never

from emailrelay.envelope import Address, Envelope
from emailrelay.errors import DamagedMessage
from emailrelay.filters.milter.packets import (
    AddRecipient,
    ChangeSender,
    EnvelopeChange,
    MilterError,
    RemoveRecipient,
)
from emailrelay.filters.result import check_address


def changed(envelope: Envelope, changes: Sequence[EnvelopeChange]) -> Envelope:
    """Apply changes in their order. A recipient that is there already is not added again.

    The parameters that may follow an address are not used.

    Raises:
        MilterError: an address cannot be one.

    """
    sender, left = envelope.sender, set(envelope.recipients)
    added, removed = dict[Address, None](), set[Address]()
    for change in changes:
        match change:
            case AddRecipient():
                new = _address(change.address)
                if not new:
                    raise MilterError("it adds an empty recipient")
                if new not in left:
                    added[new] = None
            case RemoveRecipient():
                gone = _address(change.address)
                left.discard(gone)
                removed.add(gone)
                added.pop(gone, None)
            case ChangeSender():
                sender = _address(change.address)
            case _:
                assert_never(change)
    kept = without(envelope, removed)
    return kept._replace(sender=sender, to_remote=(*kept.to_remote, *added))


def without(envelope: Envelope, recipients: Container[Address]) -> Envelope:
    """Return an envelope without these recipients."""
    return envelope._replace(
        to_local=tuple(each for each in envelope.to_local if each not in recipients),
        to_remote=tuple(each for each in envelope.to_remote if each not in recipients),
    )


def _address(octets: bytes) -> Address:
    """Read an address, with or without angle brackets."""
    text = octets.decode(errors="replace").strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    wrong = MilterError(f"it gives an address that is none: {octets[:80]!r}")
    if not text.isprintable() or "\N{REPLACEMENT CHARACTER}" in text:
        raise wrong
    if text:
        try:
            check_address(Address(text))
        except DamagedMessage as error:
            raise wrong from error
    return Address(text)
