"""The moment at which the client gets 250."""

from enum import StrEnum

from emailrelay.stage import Stage


class Ack(StrEnum):
    """The event that the answer to the client waits for."""

    STORED = "stored"
    """The message is durable."""
    FILTERED = "filtered"
    """The filter chain has given its verdict; a rejection is the answer, and nothing is kept."""
    DELIVERED = "delivered"
    """The next server has answered; its reply is the answer, and nothing is kept."""

    def at(self, stage: Stage) -> "Ack":
        """Return what a client waits for at ``stage``: no filters come after READY."""
        return Ack.STORED if self is Ack.FILTERED and stage is Stage.READY else self
