"""Chooses the people who get the notice about a failed message.

The sender is told, at the address that the client gave: all clients of the relay are trusted or
have logged in, and the setting ``allow`` limits the senders that they use. A notice itself causes
no notice to its sender (RFC 5321 section 4.5.5), only one to the postmaster. That one causes none.
"""

from dataclasses import dataclass
from enum import StrEnum

from emailrelay.aliases import LOCALHOST, Aliases
from emailrelay.bounces.failures import FailedRecipient, failures
from emailrelay.envelope import NULL_SENDER, Address, Envelope
from emailrelay.journal import History


@dataclass(frozen=True, slots=True)
class Tell:
    """``to`` gets a notice about ``failures``."""

    to: tuple[Address, ...]
    failures: tuple[FailedRecipient, ...]


class Untold(StrEnum):
    """The reasons why there is no notice, in words for the log."""

    DAMAGED = "its envelope cannot be read"
    NULL_SENDER = (
        "it is from the null sender, and there is no postmaster to tell; see the setting postmaster"
    )
    NOTICE_OF_NOTICE = "it is a notice about a notice, and no further one is made"
    NOT_WANTED = "its sender wants no notice"
    LOCAL_SENDER = "its sender is a name of this host without an alias; see the setting aliases"

    @property
    def is_told(self) -> bool:
        """True if the message need not be kept for its sender."""
        return self is Untold.NOT_WANTED

    @property
    def is_final(self) -> bool:
        """False if other settings, or ``emailrelay-notify``, can change it."""
        return self is not Untold.LOCAL_SENDER


def addressees(
    envelope: Envelope | None,
    history: History,
    *,
    postmaster: tuple[Address, ...],
    aliases: Aliases,
) -> Tell | Untold:
    """Return who gets a notice of a failed message, and about which recipients.

    Args:
        envelope: the message's envelope; None if it cannot be read.
        history: the state of the message.
        postmaster: the addresses that are told of failed notices; empty: none.
        aliases: the aliases of local senders.

    """
    if envelope is None:
        return Untold.DAMAGED
    failed = failures(envelope, history)
    if not failed:
        return Untold.NOT_WANTED
    if history.notice_depth > 1:
        # A filter that changes notices would keep them going round.
        return Untold.NOTICE_OF_NOTICE
    if envelope.sender == NULL_SENDER or history.notice_depth:
        # A notice to the postmaster that fails would come back for ever.
        unreachable = not postmaster or set(envelope.recipients) <= set(postmaster)
        return Untold.NULL_SENDER if unreachable else Tell(postmaster, failed)
    to = tuple(a for a in aliases.resolve(envelope.sender) if _is_reachable(a)) or postmaster
    return Tell(to, failed) if to else Untold.LOCAL_SENDER


def _is_reachable(address: Address) -> bool:
    """Return False for an address that no other host knows: its owner reads no mail there."""
    _, at, domain = address.rpartition("@")
    return bool(at) and domain.lower() not in LOCALHOST
