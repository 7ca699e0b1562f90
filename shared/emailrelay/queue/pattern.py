"""Patterns of the command line, in which ``*`` and ``?`` are wildcards."""

import re
from fnmatch import fnmatchcase

from emailrelay.queue.reply_group import VARYING, reply_group

_CLASS = re.compile(r"([\[])")


def fits_address(pattern: str, address: str) -> bool:
    """Tell whether a whole address matches. ``<>`` is the null sender."""
    # Case is ignored: in domains by RFC 5321 section 2.4, in local parts for convenience.
    return fnmatchcase(address.lower(), pattern.removeprefix("<").removesuffix(">").lower())


def fits_reply(pattern: str, reply: str) -> bool:
    """Tell whether a reply, or the text of its group, contains the pattern; case is ignored."""
    literal = _literal(pattern).lower()
    for sign in (VARYING, "..."):  # a console without the sign shows three dots
        literal = literal.replace(sign, "*")
    wanted = f"*{literal}*"
    return any(fnmatchcase(text.lower(), wanted) for text in (reply, reply_group(reply)))


def _literal(pattern: str) -> str:
    """Return a pattern in which a bracket stands for itself: replies have brackets."""
    return _CLASS.sub(r"[\1]", pattern)
