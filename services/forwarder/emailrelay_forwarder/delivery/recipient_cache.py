"""The latest answers of servers about recipients, for a short time."""

from collections import OrderedDict
from typing import NamedTuple

from emailrelay.envelope import Address
from emailrelay.reply import Reply
from emailrelay.routes import Route

LASTS = 60.0
"""Seconds for which an answer counts."""
MOST = 10_000
"""Answers; the oldest go first."""


class RecipientKey(NamedTuple):
    """What an answer depends on."""

    route: Route
    sender: Address
    recipient: Address
    utf8: bool


class RecipientCache:
    """The answers by key. Temporary refusals are not kept: the next answer may be another."""

    def __init__(self) -> None:
        self._known = OrderedDict[RecipientKey, tuple[float, Reply]]()

    def get(self, key: RecipientKey, now: float) -> Reply | None:
        """Return the answer if it is recent. ``now`` in seconds, on any clock that goes forward."""
        at, reply = self._known.get(key, (0.0, None))
        return reply if reply is not None and now < at + LASTS else None

    def keep(self, key: RecipientKey, reply: Reply, now: float) -> None:
        """Keep an answer."""
        self._known.pop(key, None)
        if reply.accepted or reply.permanent:
            self._known[key] = now, reply
            if len(self._known) > MOST:
                self._known.popitem(last=False)
