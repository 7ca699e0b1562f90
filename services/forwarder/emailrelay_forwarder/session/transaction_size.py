"""The most recipients of one transaction with a server."""

MOST_RECIPIENTS = 100
"""Every server takes as many (RFC 5321 section 4.5.3.1.8), or says so."""
KEPT = 7200.0
"""Seconds for which a smaller number holds: a deferred message is tried again within this time."""


class TransactionSize:
    """The number for one server, which all sessions with it share.

    A server may refuse a transaction as too large, and then end the session. The next session
    must not begin with the same number again.
    """

    __slots__ = ("_since", "most")

    def __init__(self) -> None:
        self.most = MOST_RECIPIENTS
        """At least 1."""
        self._since = 0.0

    def lower(self, most: int, now: float) -> None:
        """Note that the server does not take more than ``most``."""
        self.most, self._since = min(most, self.most), now

    def renew(self, now: float) -> None:
        """Forget a smaller number some time after it was noted."""
        if now >= self._since + KEPT:
            self.most = MOST_RECIPIENTS
