"""Connects the forwarder's settings and events with the notices about failed mail."""

import socket

from emailrelay.aliases import Aliases
from emailrelay.bounces.duty import BounceDuty
from emailrelay.bounces.telling import BounceRules
from emailrelay.config import ForwarderSettings
from emailrelay.envelope import Address
from emailrelay.events.delivery import Failed
from emailrelay.events.event import Event, Report
from emailrelay.events.filters import FilterRejected


def bounce_rules(settings: ForwarderSettings) -> BounceRules:
    """Return the rules in these settings."""
    machine = socket.gethostname()
    host = settings.domain or machine
    return BounceRules(
        tells=settings.bounces,
        host=host,
        postmaster=tuple(map(Address, settings.postmaster)),
        aliases=Aliases.of(settings.aliases, host, machine),
        per_hour=settings.bounces_per_hour,
        keep=settings.keep_failed or None,
    )


def hearing(report: Report, duty: BounceDuty) -> Report:
    """Return a log that also tells the bouncer of each message that fails in this process."""

    def heard(event: Event) -> None:
        report(event)
        if isinstance(event, Failed | FilterRejected):
            duty.hear(event.id)

    return heard
