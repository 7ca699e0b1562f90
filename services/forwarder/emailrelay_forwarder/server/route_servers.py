"""The servers of a configured route, in the form that sessions use."""

from dataclasses import replace

from emailrelay import routes
from emailrelay_forwarder.session.policy import Mode, Policy
from emailrelay_forwarder.session.route import NextServer, parse


def servers(route: routes.Route, usual: Policy) -> tuple[NextServer, ...]:
    """Return the servers of a route, the preferred one first; ``usual`` is the general policy.

    Raises:
        NoRoute: the text of one of them is invalid.

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
