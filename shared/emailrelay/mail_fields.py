"""The fields by which the events of the log name a message: those of ``MailEvent``."""

from collections.abc import Sequence
from typing import TypedDict

from emailrelay.envelope import Address, Envelope

MOST_NAMED = 5
"""Recipients that a line names; their number is beside them."""


class MailFields(TypedDict):
    """The keyword arguments of a ``MailEvent``, apart from those of its kind."""

    sender: str
    recipients: int
    to: tuple[str, ...]
    message_id: str
    user: str


UNKNOWN_MAIL: MailFields = {
    "sender": "",
    "recipients": 0,
    "to": (),
    "message_id": "",
    "user": "",
}
"""The fields where the message is not known."""


def mail_fields(envelope: Envelope, recipients: Sequence[Address] | None = None) -> MailFields:
    """Return the fields for a message, and for those of its recipients that a fact concerns.

    ``recipients``: None for all of them.
    """
    concerned = envelope.recipients if recipients is None else recipients
    return {
        "sender": envelope.sender,
        "recipients": len(concerned),
        "to": tuple(concerned[:MOST_NAMED]),
        "message_id": envelope.message_id,
        "user": envelope.authentication,
    }
