"""The notifications of delivery that a client requests (RFC 3461)."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from emailrelay.envelope import Address


class Notify(StrEnum):
    """The events of a recipient to notify the sender of (RFC 3461 section 4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


class Return(StrEnum):
    """The part of the message to return (RFC 3461 section 4.3)."""

    FULL = "FULL"
    HEADERS = "HDRS"


class RecipientRequest(NamedTuple):
    """The request for one recipient."""

    notify: tuple[Notify, ...] = ()
    """Empty: not given, which means FAILURE and perhaps DELAY."""
    original: str = ""
    """``ORCPT``: address type, semicolon, xtext, as given; or empty."""


class DsnRequest(NamedTuple):
    """The request for one message."""

    give_back: Return | None = None
    envelope_id: str = ""
    """``ENVID``: xtext as given, or empty."""
    recipients: Mapping[Address, RecipientRequest] = MappingProxyType({})
    """The recipients with a request."""

    def of(self, recipient: Address) -> RecipientRequest:
        """Return the request for a recipient."""
        return self.recipients.get(recipient, NO_WISHES)


NO_WISHES = RecipientRequest()
NO_REQUEST = DsnRequest()
