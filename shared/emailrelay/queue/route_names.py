"""The names of the routes that messages would take now, by the settings of the forwarder."""

import os
from collections.abc import Collection

from emailrelay.config import ForwarderSettings, read
from emailrelay.envelope import Address, Envelope
from emailrelay.queue.selection import RoutesOf

_NONE = "(no route)"


def routes_of() -> RoutesOf:
    """Read the settings; return a function that gives the routes of a message's recipients.

    Raises:
        ConfigError: the settings are wrong.

    """
    routes = read(ForwarderSettings, [], os.environ).routes

    def names(envelope: Envelope, recipients: Collection[Address]) -> frozenset[str]:
        found = (routes.choose(envelope, recipient).route for recipient in recipients)
        return frozenset(_NONE if route is None else route.name for route in found)

    return names
