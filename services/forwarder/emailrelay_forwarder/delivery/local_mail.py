"""Recipients that a verifier knew as mailboxes of this host: no server is offered them."""

from collections.abc import Iterable

from emailrelay.envelope import Address, Envelope
from emailrelay.reply import Reply

_NONE_REMOTE = Reply(550, "5.3.3 no remote recipients: local delivery is not supported")
_SOME_REMOTE = Reply(550, "5.3.3 local delivery is not supported")


def remote(envelope: Envelope, recipients: Iterable[Address]) -> list[Address]:
    """Return the recipients that are offered to servers."""
    if not envelope.to_local:
        return list(recipients)
    local = _local(envelope)
    return [recipient for recipient in recipients if recipient not in local]


def refusals(envelope: Envelope, recipients: Iterable[Address]) -> dict[Address, Reply]:
    """Refuse the local recipients.

    The forwarder cannot deliver to mailboxes. It must not offer such a name to a server either:
    there the name may belong to another user. So the message ends as failed after its other
    recipients are done, and its sender can get a notice.
    """
    local = _local(envelope)
    reply = _SOME_REMOTE if envelope.to_remote else _NONE_REMOTE
    return {recipient: reply for recipient in recipients if recipient in local}


def _local(envelope: Envelope) -> frozenset[Address]:
    return frozenset(envelope.to_local) - frozenset(envelope.to_remote)
