"""From the route of a message to the servers that are asked, in their order."""

from dataclasses import replace

from emailrelay import routes
from emailrelay.envelope import Envelope
from emailrelay.routes import Leg, sender_on
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


def _narrowed(envelope: Envelope, leg: Leg) -> Envelope:
    wanted = frozenset(leg.recipients)
    return replace(
        envelope,
        to_local=tuple(r for r in envelope.to_local if r in wanted),
        to_remote=tuple(r for r in envelope.to_remote if r in wanted),
    )
