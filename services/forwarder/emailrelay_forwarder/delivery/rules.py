"""The rules for all deliveries, as the settings give them."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from emailrelay.events.event import Report
from emailrelay.routes import Routes
from emailrelay.schedule import Schedule
from emailrelay.store.limits import RouteLimits
from emailrelay_forwarder.delivery.client_filter import ClientFilters
from emailrelay_forwarder.session.policy import Policy
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.smtp_client import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules for all deliveries. They hold until the settings change."""

    routes: Routes
    most: int
    """The most connections to one server."""
    places: int = 20
    """The messages that may wait at a time for servers that only envelopes name."""
    schedule: Schedule
    """The schedule of mail without a route; a route has its own."""
    open_session: Callable[[NextServer], Coroutine[None, None, Session]]
    limits: Callable[[str], RouteLimits]
    """Returns the limits that all processes share, by the name of the route."""
    policy: Policy = field(default_factory=Policy)
    """The policy for connections to all servers; a route may change it."""
    report: Report
    clock: Callable[[], float]
    filters: ClientFilters | None = None
    partly: bool = False
    """True if a waiting client gets 250 if some of the recipients were accepted."""
    no_retry: bool = False
    """True if every refusal is permanent. Mail without any refusal is still tried again."""
