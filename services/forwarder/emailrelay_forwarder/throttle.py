"""What servers say when they want less mail for a while, in codes and in words."""

import re

from emailrelay.reply import Reply

_WORDS = re.compile(
    r"too many|too fast|too quickly|\brate\b|throttl|slow down|quota"
    r"|(?:limit|maximum)\b.*\b(?:reached|exceeded)|exceed\w*\b.*\b(?:limit|maximum)",
    re.IGNORECASE,
)
_TEMPORARY = re.compile(r"4\.(?:7\.[0-9]{1,3}|3\.2|4\.5)\b")
_FOR_TODAY = re.compile(r"5\.(?:4\.5|1\.90|2\.0|7\.232)\b")
"""Google's and Microsoft's codes for a day's share that is used up, though 5yz means for good."""


def too_much(reply: Reply) -> bool:
    """Tell whether a server asks us to wait before any further message.

    Greylisting has the same codes (451 4.7.1) but means one message only, so words decide.
    """
    return (
        400 <= reply.code <= 499
        and _TEMPORARY.match(reply.text) is not None
        and _WORDS.search(reply.text) is not None
    )


def for_now(reply: Reply) -> Reply:
    """Give a refusal that names a limit of ours at the server as the temporary one that it is."""
    if reply.permanent and _FOR_TODAY.match(reply.text) and _WORDS.search(reply.text):
        return Reply.of(450, f"4.7.0 our rate limit there is reached: {reply}")
    return reply
