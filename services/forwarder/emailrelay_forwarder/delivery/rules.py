"""What stays the same for all messages."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from emailrelay.events import Report
from emailrelay.routes import Routes
from emailrelay.schedule import Schedule
from emailrelay.store.limits import RouteLimits
from emailrelay_forwarder.delivery.client_filter import ClientFilters
from emailrelay_forwarder.session.policy import Policy
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.smtp_client import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What stays the same for all messages."""

    routes: Routes
    most: int
    """Connections to one server."""
    schedule: Schedule
    """For what has no route; a route has its own."""
    open_session: Callable[[NextServer], Coroutine[None, None, Session]]
    limits: Callable[[str], RouteLimits]
    """Gives what all processes share of a route, by its name."""
    policy: Policy = field(default_factory=Policy)
    """What must hold on connections to all servers, as far as their route says nothing else."""
    report: Report
    clock: Callable[[], float]
    filters: ClientFilters | None = None
    partly: bool = False
    """Whether a client who waits is told yes when some of the recipients were accepted."""
    no_retry: bool = False
    """Whether every refusal is final; what refused nobody is tried again all the same."""
