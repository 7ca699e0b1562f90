"""Patterns of the command line, in which ``*`` and ``?`` are wildcards."""

from emailrelay.queue.reply_group import VARYING, reply_group
from emailrelay.wildcards import fits


def fits_address(pattern: str, address: str) -> bool:
    """Tell whether a whole address matches. ``<>`` is the null sender."""
    # Case is ignored: in domains by RFC 5321 section 2.4, in local parts for convenience.
    return fits(bare(pattern).lower(), address.lower())


def bare(address: str) -> str:
    """Return an address or a pattern without the angle brackets around it."""
    return address.removeprefix("<").removesuffix(">")


def fits_reply(pattern: str, reply: str) -> bool:
    """Tell whether a reply, or the text of its group, contains the pattern; case is ignored."""
    wanted = pattern.lower()
    for sign in (VARYING, "..."):  # a console without the sign shows three dots
        wanted = wanted.replace(sign, "*")
    return any(fits(f"*{wanted}*", text.lower()) for text in (reply, reply_group(reply)))
