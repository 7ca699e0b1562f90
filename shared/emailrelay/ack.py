"""When the client is told 250."""

from enum import StrEnum


class Ack(StrEnum):
    """What has happened to a message before its client is answered."""

    STORED = "stored"
    """It is durable."""
    FILTERED = "filtered"
    """The filter chain has given its verdict; a rejection is the answer and leaves nothing."""
    DELIVERED = "delivered"
    """The next server has answered; its reply is the answer, and nothing stays in the store."""
