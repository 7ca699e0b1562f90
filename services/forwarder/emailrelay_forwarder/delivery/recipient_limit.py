"""Replies that mean too many recipients in a transaction (RFC 5321 section 4.5.3.1.10)."""

import re

from emailrelay.reply import Reply
from emailrelay_forwarder.session.reply_words import own_words_with

_ENHANCED = re.compile(r"[245]\.([0-9]{1,3})\.([0-9]{1,3})\b")
_WORDS = re.compile(
    r"too many (?:\w+ )?(?:recipients?|rcpts?)\b"
    r"|\b(?:max(?:imum)?|limit)\b.*\b(?:recipients|rcpts)\b"
    r"|\b(?:recipients|rcpts)\b.*\b(?:max(?:imum)?|limit)\b",
    re.IGNORECASE,
)
_FULL_MAILBOX = re.compile(r"mailbox|storage|quota|space|size", re.IGNORECASE)
_ABOUT_AN_ADDRESS = {"1", "2"}
"""Subjects of RFC 3463: the address, the mailbox. A full mailbox (5.2.2) can have the same code."""


def names_limit(reply: Reply, *addresses: str) -> bool:
    """Tell whether a refusal names too many recipients as its reason.

    The code does not tell: servers send 452, 550, 552 (as RFC 821 required) and others.
    ``addresses``: see ``own_words``.
    """
    if reply.accepted:
        return False
    enhanced = _ENHANCED.match(reply.text)
    if enhanced and enhanced[1] in _ABOUT_AN_ADDRESS:
        return False
    if enhanced and enhanced.groups() == ("5", "3"):
        return True
    text = own_words_with(_WORDS, reply, *addresses)
    return bool(text) and not _FULL_MAILBOX.search(text)


def may_be_limit(reply: Reply, *addresses: str) -> bool:
    """Tell whether a recipient refused after others needs a further transaction.

    A bare 452 means that: RFC 5321 requires this code.
    """
    bare = reply.code == 452 and not _ENHANCED.match(reply.text)
    return bare or names_limit(reply, *addresses)


def temporary(reply: Reply, *addresses: str) -> Reply:
    """Return a refusal for too many recipients as temporary, and any other reply unchanged."""
    if reply.permanent and names_limit(reply, *addresses):
        return Reply.of(452, f"4.5.3 the server takes no more recipients at a time: {reply}")
    return reply
