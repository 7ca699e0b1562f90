"""Replies in which a server asks for less mail for a while: their codes and words."""

import re
from enum import StrEnum

from emailrelay.reply import Reply
from emailrelay_forwarder.session.reply_words import own_words_with


class ThrottleWish(StrEnum):
    """The request of a server that gets too much mail."""

    FEWER = "fewer connections"
    SLOWER = "fewer messages a second"
    LATER = "nothing for a while: a quota of messages is used up"


_WORDS = re.compile(
    r"too many|too much mail|too fast|too quickly|\brate\b|throttl|slow down|quota"
    r"|(?:limit|maximum)\b.*\b(?:reached|exceeded)|(?:exceed\w*|reached)\b.*\b(?:limit|maximum)",
    re.IGNORECASE,
)
_PLAIN_WORDS = re.compile(
    r"throttl|(?:sending|message|mail) rate|rate limit|slow down|too fast|too quickly"
    r"|too many (?:messages|mails|connections|concurrent)"
    r"|(?:daily|hourly|sending|message) (?:\w+ )?(?:quota|limit) (?:\w+ )?(?:reached|exceeded)",
    re.IGNORECASE,
)
"""Words that count without an enhanced code: about us, never about one mailbox or message."""
_ABOUT_ONE = re.compile(r"mailbox|recipient|\bsize|storage|\buser\b", re.IGNORECASE)
"""Without an enhanced code, these words show that a limit is that of a recipient or a message."""
_FULL_MAILBOX = re.compile(
    r"mailbox\b.*\bfull\b|mailbox (?:quota|limit)|\bover quota|storage|\bdisk", re.IGNORECASE
)
_CONNECTIONS = re.compile(r"connection|concurrent|session", re.IGNORECASE)
_LONG = re.compile(
    r"\bdaily\b|\bday\b|\b24[ -]?h|\bhour|quota\b.*\b(?:exceeded|reached)", re.IGNORECASE
)
_ENHANCED = re.compile(r"4\.[0-9]{1,3}\.[0-9]{1,3}\b")
_TEMPORARY = re.compile(r"4\.(?:7\.[0-9]{1,3}|3\.2|4\.5)\b")
_FOR_TODAY = re.compile(r"5\.(?:4\.5|1\.90|2\.0|7\.23[23])\b")
"""The codes of Google and Microsoft for a used-up daily quota, although 5yz means permanent."""
_NAMED_SO = "4.7.0 our rate limit there is reached:"


def wish_of(reply: Reply, *addresses: str) -> ThrottleWish | None:
    """Return the request of a reply about further messages; None: the reply is about this one.

    Greylisting has the same codes (451 4.7.1) but concerns one message, so the words decide. Amazon
    SES and others give no enhanced code; then only unmistakable words count. ``addresses``: see
    ``own_words``.
    """
    if not 400 <= reply.code <= 499:
        return None
    coded = _ENHANCED.match(reply.text)
    words = _WORDS if _TEMPORARY.match(reply.text) else None if coded else _PLAIN_WORDS
    text = "" if words is None else own_words_with(words, reply, *addresses)
    if not text:
        return None
    if (_FULL_MAILBOX if coded else _ABOUT_ONE).search(text):
        return None
    if reply.text.startswith(_NAMED_SO) or _LONG.search(text):
        return ThrottleWish.LATER
    return ThrottleWish.FEWER if _CONNECTIONS.search(text) else ThrottleWish.SLOWER


def for_now(reply: Reply, *addresses: str) -> Reply:
    """Return a permanent refusal because of our quota as the temporary one that it is.

    ``addresses``: see ``own_words``.
    """
    if not (reply.permanent and _FOR_TODAY.match(reply.text)):
        return reply
    text = own_words_with(_WORDS, reply, *addresses)
    if text and not _FULL_MAILBOX.search(text):
        return Reply.of(450, f"{_NAMED_SO} {reply}")
    return reply
