"""The mail that a refusal concerns, as the log names it."""

import re
from itertools import islice

from emailrelay.mail_fields import MOST_NAMED, MailFields
from emailrelay_receiver.dialogue.transaction import MailTransaction

_PATH = re.compile(rb"<([^<>]{0,511})>")


def refused_mail(command: str, line: bytes, mail: MailTransaction, user: str) -> MailFields:
    """Return the fields for a refused command, from its line and the transaction before it.

    At MAIL it is the sender in the line, at RCPT the recipient there; both may be malformed. At
    other commands it is the message so far.
    """
    sender, recipients = str(mail.sender or ""), len(mail.recipients)
    named = tuple(str(each.address) for each in islice(mail.recipients.values(), MOST_NAMED))
    if command == "MAIL":
        sender, recipients, named = _address(line), 0, ()
    elif command == "RCPT":
        address = _address(line)
        recipients, named = (1, (address,)) if address else (0, ())
    return {
        "sender": sender,
        "recipients": recipients,
        "to": named,
        "message_id": mail.message_id,
        "user": user,
    }


def _address(line: bytes) -> str:
    found = _PATH.search(line)
    return found[1].decode("utf-8", "replace") if found else ""
