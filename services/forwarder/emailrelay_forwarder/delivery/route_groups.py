"""The ways of one attempt: which servers are asked in which order, for whom, and what is left of each."""

from dataclasses import dataclass, field, replace

from emailrelay.envelope import Address, Envelope
from emailrelay.reply import Reply
from emailrelay.routes import RouteGroup, sender_on
from emailrelay_forwarder.delivery.delivery import Progress
from emailrelay_forwarder.delivery.outgoing import Outgoing
from emailrelay_forwarder.session.session_error import SessionError


def for_group(message: Outgoing, group: RouteGroup) -> Outgoing:
    """Return the message as the servers of one route are to see it: its recipients, its sender."""
    envelope = message.envelope
    sender = envelope.sender if group.route is None else sender_on(group.route, envelope.sender)
    if sender == envelope.sender and set(group.recipients) == set(envelope.recipients):
        return message
    return replace(message, envelope=_narrowed(envelope._replace(sender=sender), group))


def elsewhere(progress: Progress) -> bool:
    """Tell whether another server of the route may be asked: this one has not had the content."""
    return progress.trouble is not None and not (progress.in_content or progress.at_dot)


@dataclass(slots=True)
class Stops:
    """What stopped the groups of one attempt, each of which is to begin anew."""

    _troubles: list[SessionError] = field(default_factory=list[SessionError])
    _obstacles: list[Reply] = field(default_factory=list[Reply])
    _peers: dict[str, None] = field(default_factory=dict[str, None])

    def note(self, progress: Progress) -> None:
        """Take what stopped a group out of ``progress``."""
        self._troubles += [progress.trouble] if progress.trouble else []
        self._obstacles += [progress.obstacle] if progress.obstacle else []
        self._peers[progress.peer] = None
        progress.trouble = progress.obstacle = None
        progress.in_content = progress.at_dot = False

    def tell(self, progress: Progress) -> None:
        """Put the first of each back: why the recipients without an answer have none."""
        progress.trouble = next(iter(self._troubles), None)
        progress.obstacle = next(iter(self._obstacles), None)
        progress.peer = ", ".join(self._peers)


def accepted(progress: Progress) -> frozenset[Address]:
    """Give the recipients that a server has taken the message for."""
    return frozenset(r for r, reply in progress.replies.items() if reply.accepted)


def _narrowed(envelope: Envelope, group: RouteGroup) -> Envelope:
    wanted = frozenset(group.recipients)
    return envelope._replace(
        to_local=tuple(r for r in envelope.to_local if r in wanted),
        to_remote=tuple(r for r in envelope.to_remote if r in wanted),
    )
