"""The ways in which a message leaves the store."""

from enum import StrEnum


class MessageEnd(StrEnum):
    """The last fact of a message's history; the value is its word in the record."""

    DELIVERED = "delivered"
    """A server has accepted it for each recipient, or the filter ``deliver:`` has delivered it."""
    DROPPED = "dropped"
    """A filter has dropped it."""
    REFUSED = "refused"
    """The client that waited has been told that it was refused or cannot be taken now."""
    WITHDRAWN = "withdrawn"
    """The client has left before it was told 250."""
    DELETED = "deleted"
    """An operator has deleted it."""
    EXPIRED = "expired"
    """It failed, its sender was told, and its time in the store is over."""
    MOVED = "moved"
    """It is in another store now."""
