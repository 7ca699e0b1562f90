"""The extensions in an EHLO reply (RFC 5321 section 4.1.1.1), in all spellings in use."""

import re
from collections.abc import Mapping

_LINE = re.compile(r"([^\s=]+)(?:\s*=\s*|\s+|\Z)(.*)", re.DOTALL)
"""``AUTH=LOGIN`` stands for ``AUTH LOGIN``, from the time before RFC 4954."""


def extensions_of(text: str) -> dict[str, str]:
    """Return the keywords of an EHLO reply in lower case, each with its parameters.

    A keyword on several lines gets the parameters of all of them: some servers send ``AUTH`` twice,
    in two spellings. The first line has the server's name and no keyword.
    """
    found: dict[str, str] = {}
    for line in text.split("\n")[1:]:
        if match := _LINE.match(line.strip()):
            keyword, more = match[1].lower(), match[2].strip()
            found[keyword] = f"{found.get(keyword, '')} {more}".strip()
    return found


def largest_message(extensions: Mapping[str, str]) -> int | None:
    """Return the size limit for messages in octets, if the server gives one (RFC 1870).

    Larger mail fails without an offer, so the greatest of several limits counts. The value 0, a
    missing value, or text that is not a number means no limit.
    """
    numbers = extensions.get("size", "").split()
    if not all(number.isascii() and number.isdigit() for number in numbers):
        return None
    limits = [int(number[:20]) for number in numbers]
    return None if 0 in limits else max(limits, default=None)
