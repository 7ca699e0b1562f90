"""The server's own words in a reply: its text without the addresses that it repeats."""

import re
from collections.abc import Iterator

from emailrelay.reply import Reply

_GAP = "…"
_ENCLOSED = re.compile(r'<[^>]*>|<\S[^>]*\Z|"[^"]*"@')


def own_words(reply: Reply, *addresses: str) -> str:
    """Return the text of a reply with ``…`` in place of each address and each link.

    ``addresses``: the sender and the recipients that the reply is about. They are also found as a
    local part or a domain alone. Clients choose addresses, so a rule that looks for words must not
    see them: ``daily-quota@example.com`` is no quota.
    """
    text = reply.text
    for part in sorted(set(_parts(addresses)), key=len, reverse=True):
        if part.casefold() in text.casefold():
            alone = rf"(?<![\w.-]){re.escape(part)}(?![\w-]|\.\w)"
            text = re.sub(alone, _GAP, text, flags=re.IGNORECASE)
    words = _ENCLOSED.sub(_enclosed, text).split()
    return " ".join(_GAP if "@" in word or "://" in word else word for word in words)


def own_words_with(found: re.Pattern[str], reply: Reply, *addresses: str) -> str:
    """Return ``own_words`` if the pattern is found in them, else an empty text.

    Nearly all replies are about something else. The whole text shows that quickly.
    """
    if not found.search(" ".join(reply.text.split())):
        return ""
    words = own_words(reply, *addresses)
    return words if found.search(words) else ""


def _enclosed(found: re.Match[str]) -> str:
    return f"{_GAP}@" if found[0].endswith("@") else _GAP


def _parts(addresses: tuple[str, ...]) -> Iterator[str]:
    for address in addresses:
        local, _, domain = address.rpartition("@")
        for part in (address, local, local.strip('"'), domain):
            # A single word, such as mail or limit, may be the server's own.
            if part and not part.isalpha():
                yield part
