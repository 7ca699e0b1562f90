"""Finds messages of the history by a text: an id, an address, a Message-ID, or words of a reply.

A store looks for ``needle`` in its records, which is quick, and asks ``HistoryQuery.matches`` only
about the records that have it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from emailrelay.acceptance import Accepted
from emailrelay.envelope_format import from_xtext
from emailrelay.history_record import PastMessage
from emailrelay.journal import Attempt, Doubted, Entry, Failure, Held
from emailrelay.queue_id import QueueId
from emailrelay.wildcards import fits

_WILD = frozenset("*?")
_PLAIN = re.compile(r"[ !#-),-<>@-Z^-~]+")
"""Runs of characters that stand for themselves in JSON and xtext, and are not wildcards."""
_ANYTHING = re.compile(r"…|\.\.\.")
"""Any words of a reply: ``list --by reply`` shows the parts so that differ between messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """The messages to find."""

    id: QueueId | None = None
    """Only this message; then there is no ``text``."""
    text: str = ""
    """An address, a local part, a domain, a Message-ID, a user, a client, or words of a reply.

    In any case of letters. ``<>`` is the null sender; ``*`` and ``?`` are wildcards for addresses,
    and ``…`` is one for replies.
    """
    since: float | None = None
    """Only messages that ended then or later (seconds since 1970), or have not ended."""

    @property
    def needle(self) -> bytes:
        """Return octets that the record of each message has, in lower case; perhaps none."""
        parts = _ANYTHING.split((self.id or _bare(self.text)).lower())
        found = (run for part in parts for run in _PLAIN.findall(part))
        return max(found, key=len, default="").encode()

    def matches(self, message: PastMessage) -> bool:
        """Tell if a message is one of those to find."""
        if self.since is not None and message.ended < self.since:
            return False
        if self.id is not None:
            return message.id == self.id
        text = _bare(self.text).lower()
        if not text:
            return not message.sender
        return (
            any(_names(text, address) for address in _addresses(message))
            or text == _bare(message.message_id).lower()
            or text in (message.user.lower(), message.client.lower())
            or any(_has(said.lower(), text) for said in _said(message.entries))
        )


def _addresses(message: PastMessage) -> Iterator[str]:
    """Yield the sender, the recipients, and the names by which clients called these (RFC 3461).

    An alias is such a name.
    """
    yield message.sender
    yield from message.recipients
    for entry in message.entries:
        if isinstance(entry, Accepted):
            for asked in entry.dsn.recipients.values():
                original = _decoded(asked.original.partition(";")[2])
                if " " not in original:  # the only character of a needle that xtext encodes
                    yield original


def _decoded(text: str) -> str:
    try:
        return from_xtext(text)
    except ValueError:  # RFC 6533 allows addresses that are not xtext
        return text


def _bare(text: str) -> str:
    return text[1:-1] if text.startswith("<") and text.endswith(">") else text


def _names(text: str, address: str) -> bool:
    """Tell if a text is an address, a part of it, or a pattern for it."""
    known = address.lower()
    local, _, domain = known.rpartition("@")
    if known == text or (known and text.removeprefix("@") in (local, domain)):
        return True
    return bool(_WILD.intersection(text)) and fits(text, known)


def _has(said: str, text: str) -> bool:
    """Tell if a reply has a text in it, in which ``…`` stands for anything."""
    place = 0
    for part in _ANYTHING.split(text):
        found = said.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True


def _said(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield what servers and filters have said."""
    for entry in entries:
        match entry:
            case Attempt():
                yield entry.peer
                yield from map(str, entry.replies.values())
                if entry.trouble is not None:
                    yield str(entry.trouble)
            case Failure():
                yield str(entry.reason)
            case Held():
                yield entry.reason
            case Doubted():
                yield entry.peer
            case _:
                pass
