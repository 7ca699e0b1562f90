"""The group of a reply: its text without the parts that differ from message to message.

Servers put addresses, queue ids, times and counts into their replies. Each such part becomes ``…``,
so that all messages that wait for the same reason are one group.
"""

import re
from functools import lru_cache

VARYING = "…"

_CODES = re.compile(r"[2-5][0-9][0-9](?:[ -]+[245]\.[0-9]{1,3}\.[0-9]{1,3})?(?= |$)")
_MORE = re.compile(r" \(and [0-9]+ more\)$")
_BRACKETED = re.compile(r"<[^<>]*>|\[[^\[\]]*\]")
_WORD = re.compile(r"(?i:https?://)[^\s(){}<>\[\]'\"]+|[^\s(){}<>\[\],;'\"=]+")
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_NAMED = re.compile(r"[A-Za-z]+[0-9]?")
_ADDRESS = re.compile(r"[^@]*@[^@]+")
_LINK = re.compile(r"(https?://[^?#]*)[?#].*", re.IGNORECASE)
_SEVERAL = re.compile(rf"{VARYING}(?:[ :,/-]*{VARYING})+")


@lru_cache(maxsize=1024)
def reply_group(reply: str) -> str:
    """Return the text of the group that a reply belongs to; its codes stay as they are."""
    codes = _CODES.match(reply)
    head = codes[0] if codes else ""
    text = _MORE.sub("", reply[len(head) :])
    text = _BRACKETED.sub(_bracketed, text)
    return head + _SEVERAL.sub(VARYING, _WORD.sub(_steady, text))


def _bracketed(found: re.Match[str]) -> str:
    text = found[0]
    if text[0] == "[" and not any(letter.isdigit() or letter == "@" for letter in text):
        return text
    return f"{text[0]}{VARYING}{text[-1]}"


def _steady(found: re.Match[str]) -> str:
    """Return a word as it stands if it is the same in all replies of its kind, else ``…``."""
    word = found[0]
    bare = word.rstrip(".:!?")
    link = _LINK.fullmatch(bare)
    if link is not None:
        return f"{link[1]}?{VARYING}"
    if bare.lower().startswith(("http://", "https://")):
        return word
    numbered = any(letter.isdigit() for letter in bare)
    same = not numbered or _STATUS.fullmatch(bare) or _NAMED.fullmatch(bare)
    if same and not _ADDRESS.fullmatch(bare):
        return word
    return VARYING + word[len(bare) :]
