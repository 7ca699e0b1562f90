"""What servers say when they want less mail for a while, in codes and in words."""

import re
from enum import StrEnum

from emailrelay.reply import Reply


class ThrottleWish(StrEnum):
    """What a server asks for that has had too much."""

    FEWER = "fewer connections"
    SLOWER = "fewer messages a second"
    LATER = "nothing for a while: a share of many messages is used up"


_WORDS = re.compile(
    r"too many|too fast|too quickly|\brate\b|throttl|slow down|quota"
    r"|(?:limit|maximum)\b.*\b(?:reached|exceeded)|exceed\w*\b.*\b(?:limit|maximum)",
    re.IGNORECASE,
)
_PLAIN_WORDS = re.compile(
    r"throttl|(?:sending|message|mail) rate|rate limit|slow down|too fast|too quickly"
    r"|too many (?:messages|mails|connections|concurrent)"
    r"|(?:daily|hourly|sending|message) (?:\w+ )?(?:quota|limit) (?:\w+ )?(?:reached|exceeded)",
    re.IGNORECASE,
)
"""Those that need no code: about us, never about one mailbox or message."""
_ABOUT_ONE = re.compile(r"mailbox|recipient|\bsize|storage|\buser\b", re.IGNORECASE)
"""Without a code, these make a limit that of a recipient or a message."""
_CONNECTIONS = re.compile(r"connection|concurrent|session", re.IGNORECASE)
_LONG = re.compile(
    r"\bdaily\b|\bday\b|\b24[ -]?h|\bhour|quota\b.*\b(?:exceeded|reached)", re.IGNORECASE
)
_ENHANCED = re.compile(r"4\.[0-9]{1,3}\.[0-9]{1,3}\b")
_TEMPORARY = re.compile(r"4\.(?:7\.[0-9]{1,3}|3\.2|4\.5)\b")
_FOR_TODAY = re.compile(r"5\.(?:4\.5|1\.90|2\.0|7\.232)\b")
"""Google's and Microsoft's codes for a day's share that is used up, though 5yz means for good."""
_NAMED_SO = "4.7.0 our rate limit there is reached:"


def wish_of(reply: Reply) -> ThrottleWish | None:
    """Tell what a server asks for before any further message; None: the reply is about this one.

    Greylisting has the same codes (451 4.7.1) but means one message only, so words decide. Amazon SES
    and others give no enhanced code; then only words that can mean nothing else do.
    """
    if not 400 <= reply.code <= 499:
        return None
    coded = _ENHANCED.match(reply.text)
    words = _WORDS if _TEMPORARY.match(reply.text) else None if coded else _PLAIN_WORDS
    if words is None or not words.search(reply.text):
        return None
    if not coded and _ABOUT_ONE.search(reply.text):
        return None
    if reply.text.startswith(_NAMED_SO) or _LONG.search(reply.text):
        return ThrottleWish.LATER
    return ThrottleWish.FEWER if _CONNECTIONS.search(reply.text) else ThrottleWish.SLOWER


def for_now(reply: Reply) -> Reply:
    """Give a refusal that names a limit of ours at the server as the temporary one that it is."""
    if reply.permanent and _FOR_TODAY.match(reply.text) and _WORDS.search(reply.text):
        return Reply.of(450, f"{_NAMED_SO} {reply}")
    return reply
