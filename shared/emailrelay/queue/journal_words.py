"""The words about each entry of a journal: a sentence, and lines with details."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, assert_never

from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address
from emailrelay.journal import (
    Answered,
    Attempt,
    Doubted,
    Entry,
    Failure,
    Filtered,
    Flushed,
    Held,
    Moving,
    Notified,
    Released,
    Wished,
)
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.terminal.human import octets, when

MOST_NAMED = 10
"""The recipients named in one place."""
UNKNOWN_START = "written by another program: the time of acceptance is unknown"


class EntryWords(NamedTuple):
    """The words about one entry."""

    when: str
    """The time; empty: it is unknown."""
    sentence: str
    details: Sequence[str] = ()
    """The replies to a try, and its trouble."""


def journal_words(entries: Iterable[Entry]) -> Iterator[tuple[Entry, EntryWords]]:
    """Yield each entry with its words, oldest first."""
    tries = 0
    for entry in entries:
        at = when(entry.at) if entry.at else ""
        details = tuple(_replies(entry)) if isinstance(entry, Attempt) else ()
        yield entry, EntryWords(at, _sentence(entry, tries), details)
        match entry:
            case Attempt():
                tries += entry.tries
            case Filtered() | Released():  # as ``History.attempts``
                tries = 0
            case _:
                pass


def _sentence(entry: Entry, before: int) -> str:
    match entry:
        case Accepted(stage=stage, length=length):
            first = ", for the filters first" if stage is Stage.UNFILTERED else ""
            return f"accepted, {octets(length)}{first}"
        case Filtered(length=length):
            return f"passed the filters, {octets(length)}"
        case Attempt():
            return _try(entry, before)
        case Failure(reason=reason):
            return f"failed: {reason}"
        case Wished(wish=wish):
            return f"the operator asked for {wish}, which takes effect when the current try ends"
        case Moving(origin=origin):
            return f"moved here from {origin}" if origin else "set aside for a move"
        case Doubted(peer=peer):
            return (
                f"in doubt: a forwarder ended before the final reply of {peer}, which may have"
                " a copy and get a second one"
            )
        case Notified():
            return _notified(entry)
        case Held(reason=reason) if reason:
            return f"held by a filter: {reason}"
        case Answered() | Held() | Released() | Flushed():
            return _PLAIN[type(entry)]
        case _:
            assert_never(entry)


_PLAIN: Mapping[type, str] = MappingProxyType(
    {
        Answered: "the client was told 250",
        Held: "held by the operator",
        Released: "released by the operator; age and tries start again",
        Flushed: "the operator asked for a try now",
    }
)


def _notified(entry: Notified) -> str:
    if entry.notice:
        return f"notified of the failure: {', '.join(entry.to) or 'the sender'}, by {entry.notice}"
    words = {None: "the sender was notified, or cannot be", False: "the sender cannot be notified"}
    return words.get(entry.told, "the sender needs no notice")


def _try(attempt: Attempt, before: int) -> str:
    tls = f" ({attempt.tls})" if attempt.tls else ""
    peer = f" with {attempt.peer}{tls}" if attempt.peer else ""
    if attempt.tries == 0:
        return f"replies to earlier tries{peer}"
    if attempt.tries == 1:
        return f"try {before + 1}{peer}"
    return f"tries {before + 1} to {before + attempt.tries}{peer and f', the last one{peer}'}"


def _replies(attempt: Attempt) -> Iterator[str]:
    # The journal does not tell whether a try was stopped by the server's reply or by this relay.
    alike: dict[Reply, list[Address]] = {}
    for address, reply in attempt.replies.items():
        alike.setdefault(reply, []).append(address)
    for reply, addresses in alike.items():
        yield f"{_named(addresses)}: {reply}"
    if attempt.trouble is not None:
        yield str(attempt.trouble)


def _named(addresses: Sequence[Address]) -> str:
    shown = ", ".join(addresses[:MOST_NAMED])
    more = len(addresses) - MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
