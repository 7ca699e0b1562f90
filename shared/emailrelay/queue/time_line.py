"""The time line of one message: lines for people, and one object for programs."""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from emailrelay import history_record, journal
from emailrelay.history_record import PastMessage
from emailrelay.journal import Attempt, Entry
from emailrelay.message_end import MessageEnd
from emailrelay.queue.journal_words import MOST_NAMED, UNKNOWN_START, journal_words
from emailrelay.queue.state import state_of
from emailrelay.stage import Stage
from emailrelay.terminal.human import octets, when

_INDENT = " " * 29
_ENDS: Mapping[MessageEnd, str] = MappingProxyType(
    {
        MessageEnd.DELIVERED: "delivered to all recipients",
        MessageEnd.DROPPED: "dropped by a filter",
        MessageEnd.REFUSED: "refused: the client got the refusal, and is responsible for it",
        MessageEnd.WITHDRAWN: "withdrawn: the client had left before it got 250",
        MessageEnd.DELETED: "deleted by the operator",
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
    """Return the record with two keys more: ``state``, and ``live`` (it is in the store).

    A message that is in the store has not ended, so ``ended`` and ``end`` are null.
    """
    live = message.end is None
    value: dict[str, Any] = json.loads(history_record.write(message))
    if live:
        value["ended"] = None
    return {"state": state(message), "live": live, **value}


def lines(message: PastMessage) -> Iterator[str]:
    """Yield the lines about a message, oldest fact first."""
    yield f"Message {message.id}: {state(message)}, {octets(message.size)}"
    yield f"  from        {message.sender or '<> (the null sender)'}"
    more = len(message.recipients) - MOST_NAMED
    for address in message.recipients[:MOST_NAMED]:
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
        yield f"  {UNKNOWN_START}"
    for entry, words in journal_words(message.entries):
        sentence = drop_words(entry, message) or words.sentence
        yield f"  {words.when:<27}{sentence}"
        yield from (f"{_INDENT}{line}" for line in words.details)
        if isinstance(entry, Attempt) and entry.next_attempt is not None:
            yield f"{_INDENT}next try at {when(entry.next_attempt)}"
    yield f"  {when(message.ended):<27}{last_words(message)}"


def drop_words(entry: Entry, message: PastMessage) -> str | None:
    """Return the words about the filter that dropped the message; None: the entry is another."""
    dropped = message.end is MessageEnd.DROPPED and entry is message.entries[-1]
    return f"dropped by {entry.peer}" if dropped and isinstance(entry, Attempt) else None


def last_words(message: PastMessage) -> str:
    """Return the words about the end of a message, or its present state."""
    if message.end is not None:
        return _ENDS[message.end]
    return f"now {state(message)}"
