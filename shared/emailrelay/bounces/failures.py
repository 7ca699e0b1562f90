"""The failed recipients that a notice to the sender names, with the reasons."""

from dataclasses import dataclass

from emailrelay.dsn_request import DsnRequest, Notify
from emailrelay.envelope import Address, Envelope
from emailrelay.journal import History
from emailrelay.reply import Reply
from emailrelay.stage import Stage

_UNKNOWN = Reply(554, "5.0.0 the reason is not known")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRecipient:
    """The reason why one recipient did not get the message."""

    recipient: Address
    reply: Reply
    peer: str = ""
    """The server that gave the reply; empty if the reply is this relay's own."""
    original: str = ""
    """The address that the sender wrote: ``ORCPT`` as given, or empty."""
    about: str = ""
    """The id of the failed message, in a notice about several."""


def failures(envelope: Envelope, history: History) -> tuple[FailedRecipient, ...]:
    """Return the recipients that were refused or given up, in the envelope's order.

    A recipient is left out if the sender wants no notice of its failure (RFC 3461 section 4.1).
    """
    reason = history.failed.reason if history.failed is not None else _UNKNOWN
    return tuple(
        FailedRecipient(
            recipient=address,
            reply=history.refused.get(address, reason),
            peer=_peer(history, address) if address in history.refused else "",
            original=history.dsn.of(address).original,
        )
        for address in dict.fromkeys(envelope.recipients)
        if address not in history.delivered and _wanted(history.dsn, address)
    )


def _wanted(dsn: DsnRequest, recipient: Address) -> bool:
    notify = dsn.of(recipient).notify
    return not notify or Notify.FAILURE in notify


def _peer(history: History, recipient: Address) -> str:
    """Return the server that refused a recipient, if the last attempt shows it.

    An attempt that the filters' acceptance does not count, or ended, was that of a filter.
    """
    attempt = history.last_attempt
    if attempt is None or not history.attempts or history.stage is Stage.UNFILTERED:
        return ""
    return attempt.peer if recipient in attempt.replies else ""
