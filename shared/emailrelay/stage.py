"""The stages of a message in the relay."""

from enum import StrEnum


class Stage(StrEnum):
    """The visible stages; a message is in exactly one of them until it is gone."""

    UNFILTERED = "unfiltered"
    """Acknowledged; the filter chain has not accepted it yet."""
    READY = "ready"
    """To be forwarded, now or at its retry time."""
    FAILED = "failed"
    """Given up, kept with the reason for the operator and for notification."""
    HELD = "held"
    """Set aside by the operator until released."""
