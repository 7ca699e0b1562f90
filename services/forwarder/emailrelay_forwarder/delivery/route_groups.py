"""The recipients of one attempt, grouped by route: one message and one result for each group."""

from dataclasses import dataclass, field

from emailrelay.envelope import Address, Envelope
from emailrelay.reply import Reply
from emailrelay.routes import RouteGroup, sender_on
from emailrelay_forwarder.delivery.delivery import Progress
from emailrelay_forwarder.delivery.outgoing import Outgoing
from emailrelay_forwarder.session.session_error import SessionError


def for_group(message: Outgoing, group: RouteGroup) -> Outgoing:
    """Return the message for the servers of one route: with its recipients and its sender."""
    envelope = message.envelope
    sender = envelope.sender if group.route is None else sender_on(group.route, envelope.sender)
    if sender == envelope.sender and set(group.recipients) == set(envelope.recipients):
        return message
    return message._replace(envelope=_narrowed(envelope._replace(sender=sender), group))


def elsewhere(progress: Progress) -> bool:
    """Tell whether another server of the route may be tried: this one has not got the content."""
    return progress.trouble is not None and not (progress.in_content or progress.at_dot)


@dataclass(slots=True)
class Stops:
    """The reasons why groups of one attempt stopped."""

    _troubles: list[SessionError] = field(default_factory=list[SessionError])
    _obstacles: list[Reply] = field(default_factory=list[Reply])
    _peers: dict[str, None] = field(default_factory=dict[str, None])
    _tls: dict[str, None] = field(default_factory=dict[str, None])

    def note(self, progress: Progress) -> None:
        """Move the reason of one group out of ``progress``, so that the next begins without."""
        self._troubles += [progress.trouble] if progress.trouble else []
        self._obstacles += [progress.obstacle] if progress.obstacle else []
        self._peers[progress.peer] = None
        self._tls[progress.tls] = None
        progress.trouble = progress.obstacle = None
        progress.in_content = progress.at_dot = False

    def tell(self, progress: Progress) -> None:
        """Put the first reason of each kind back: it applies to the recipients without a reply."""
        progress.trouble = next(iter(self._troubles), None)
        progress.obstacle = next(iter(self._obstacles), None)
        progress.peer = ", ".join(self._peers)
        progress.tls = ", ".join(version or "no TLS" for version in self._tls)


def accepted(progress: Progress) -> frozenset[Address]:
    """Return the recipients for which a server has accepted the message."""
    return frozenset(r for r, reply in progress.replies.items() if reply.accepted)


def _narrowed(envelope: Envelope, group: RouteGroup) -> Envelope:
    wanted = frozenset(group.recipients)
    return envelope._replace(
        to_local=tuple(r for r in envelope.to_local if r in wanted),
        to_remote=tuple(r for r in envelope.to_remote if r in wanted),
    )
