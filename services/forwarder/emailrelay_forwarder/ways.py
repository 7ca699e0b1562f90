"""The ways of one attempt: which servers are asked in which order, for whom, and what is left of each."""

from collections.abc import Iterable
from dataclasses import replace

from emailrelay import routes
from emailrelay.envelope import Address, Envelope
from emailrelay.reply import Reply
from emailrelay.routes import Leg, sender_on
from emailrelay_forwarder.delivery import Progress
from emailrelay_forwarder.outgoing import Outgoing
from emailrelay_forwarder.policy import Mode, Policy
from emailrelay_forwarder.route import Route, parse


def servers(route: routes.Route, usual: Policy) -> tuple[Route, ...]:
    """Return the servers of a route, the best one first; ``usual`` is what holds for all servers.

    Raises:
        NoRoute: one of them cannot be understood.

    """
    tls = usual.tls
    if route.tls is not None:
        tls = replace(tls, mode=Mode(route.tls))
    if route.tls_verify is not None:
        tls = replace(tls, verify=route.tls_verify)
    policy = None if tls == usual.tls else replace(usual, tls=tls)
    return tuple(
        replace(parse(server), account=route.account or "", policy=policy)
        for server in route.smarthosts
    )


def on_leg(message: Outgoing, leg: Leg) -> Outgoing:
    """Return the message as the servers of one route are to see it: its recipients, its sender."""
    envelope = message.envelope
    sender = envelope.sender if leg.route is None else sender_on(leg.route, envelope.sender)
    if sender == envelope.sender and set(leg.recipients) == set(envelope.recipients):
        return message
    return replace(message, envelope=_narrowed(replace(envelope, sender=sender), leg))


def elsewhere(progress: Progress) -> bool:
    """Tell whether another server of the route may be asked: this one has not had the content."""
    return progress.trouble is not None and not (progress.in_content or progress.at_dot)


def close_leg(progress: Progress, recipients: Iterable[Address]) -> bool:
    """Write what stopped one leg to its own recipients, so that the next begins anew.

    Tell whether all of them were accepted.
    """
    if progress.why is not None:
        # Trouble is never for good, whatever its code; a reply would be.
        reply = progress.why if 400 <= progress.why.code <= 499 else _temporary(progress.why)
        for recipient in recipients:
            progress.replies.setdefault(recipient, reply)
    progress.trouble = progress.obstacle = None
    progress.in_content = progress.at_dot = False
    return all(recipient in accepted(progress) for recipient in recipients)


def accepted(progress: Progress) -> frozenset[Address]:
    """Give the recipients that a server has taken the message for."""
    return frozenset(r for r, reply in progress.replies.items() if reply.accepted)


def _temporary(reply: Reply) -> Reply:
    return Reply.of(451, f"4.4.0 the server cannot be used now: {reply}")


def _narrowed(envelope: Envelope, leg: Leg) -> Envelope:
    wanted = frozenset(leg.recipients)
    return replace(
        envelope,
        to_local=tuple(r for r in envelope.to_local if r in wanted),
        to_remote=tuple(r for r in envelope.to_remote if r in wanted),
    )
