"""The time line of one message: lines for people, and one object for programs."""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, assert_never

from emailrelay import history_record, journal
from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address
from emailrelay.history_record import PastMessage
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
from emailrelay.message_end import MessageEnd
from emailrelay.queue.state import state_of
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.terminal.human import when
from emailrelay.terminal.output import counted

_MOST_NAMED = 10
"""The recipients named in one place."""
_INDENT = " " * 29
_ENDS: Mapping[MessageEnd, str] = MappingProxyType(
    {
        MessageEnd.DELIVERED: "delivered to all recipients",
        MessageEnd.DROPPED: "dropped by a filter",
        MessageEnd.REFUSED: "refused: the client was told so, and is responsible for it",
        MessageEnd.WITHDRAWN: "withdrawn: the client had left before it was told 250",
        MessageEnd.DELETED: "deleted by an operator",
        MessageEnd.EXPIRED: "removed: it failed, and its time in the store was over",
        MessageEnd.MOVED: "moved to another store",
    }
)


def state(message: PastMessage) -> str:
    """Return the end of a message, or its state in the store."""
    if message.end is not None:
        return message.end.value
    due = journal.read(message.entries).next_attempt
    return state_of(message.stage or Stage.READY, due, message.ended).value


def as_json(message: PastMessage) -> dict[str, Any]:
    """Return the record with two keys more: ``state``, and ``live`` (it is in the store)."""
    value: dict[str, Any] = json.loads(history_record.write(message))
    return {"state": state(message), "live": message.end is None, **value}


def lines(message: PastMessage) -> Iterator[str]:
    """Yield the lines about a message, oldest fact first."""
    yield f"Message {message.id}: {state(message)}, {counted(message.size, 'octet')}"
    yield f"  from        {message.sender or '<> (the null sender)'}"
    more = len(message.recipients) - _MOST_NAMED
    for address in message.recipients[:_MOST_NAMED]:
        yield f"  to          {address}"
    if more > 0 or message.more:
        yield f"  to          {max(more, 0) + message.more} more"
    facts = {
        "Message-ID": message.message_id,
        "client": message.client,
        "signed in": message.user,
    }
    yield from (f"  {name:<11} {fact}" for name, fact in facts.items() if fact)
    if message.arrived is None:
        yield "  written by another program: the time of acceptance is unknown"
    for entry in message.entries:
        first, *rest = _told(entry, message)
        yield f"  {when(entry.at) if entry.at else '':<27}{first}"
        yield from (f"{_INDENT}{line}" for line in rest)
    yield f"  {when(message.ended):<27}{_last(message)}"


def _last(message: PastMessage) -> str:
    if message.end is not None:
        return _ENDS[message.end]
    return f"now {state(message)}"


def _told(entry: Entry, message: PastMessage) -> Iterator[str]:
    """Yield at least one line about an entry of the journal."""
    match entry:
        case Accepted(stage=stage):
            yield "accepted, for the filters first" if stage is Stage.UNFILTERED else "accepted"
        case Filtered():
            yield "accepted by the filters"
        case Attempt():
            yield from _try(entry, message)
        case Failure(reason=reason):
            yield f"failed: {reason}"
        case Wished(wish=wish):
            yield f"the operator's {wish} takes effect when the present try ends"
        case Moving(origin=origin):
            yield f"moved here from {origin}" if origin else "set aside for a move"
        case Doubted(peer=peer):
            yield f"in doubt: {peer} may have accepted it, so that it may get a second copy"
        case Notified():
            yield _notified(entry)
        case Held(reason=reason) if reason:
            yield f"held by a filter: {reason}"
        case Answered() | Held() | Released() | Flushed():
            yield _PLAIN[type(entry)]
        case _:
            assert_never(entry)


_PLAIN: Mapping[type, str] = MappingProxyType(
    {
        Answered: "the client was told 250",
        Held: "held by an operator",
        Released: "released for a new try; its age begins anew",
        Flushed: "a try now was requested",
    }
)


def _notified(entry: Notified) -> str:
    if entry.notice:
        return f"told of the failure: {', '.join(entry.to) or 'the sender'}, by {entry.notice}"
    told = {None: "the sender was told, or cannot be", False: "the sender cannot be told"}
    return told.get(entry.told, "the sender needs no notice")


def _try(attempt: Attempt, message: PastMessage) -> Iterator[str]:
    tls = f" ({attempt.tls})" if attempt.tls else ""
    tries = f"{attempt.tries} tries" if attempt.tries > 1 else "try"
    dropped = message.end is MessageEnd.DROPPED and attempt is message.entries[-1]
    if not attempt.peer:
        yield f"{tries} before"
    else:
        yield f"dropped by {attempt.peer}" if dropped else f"{tries} with {attempt.peer}{tls}"
    alike: dict[Reply, list[Address]] = {}
    for address, reply in attempt.replies.items():
        alike.setdefault(reply, []).append(address)
    for reply, addresses in alike.items():
        yield f"{_named(addresses)}: {reply}"
    if attempt.trouble is not None:
        yield str(attempt.trouble)
    if attempt.next_attempt is not None:
        yield f"next try at {when(attempt.next_attempt)}"


def _named(addresses: list[Address]) -> str:
    named = ", ".join(addresses[:_MOST_NAMED])
    more = len(addresses) - _MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named
