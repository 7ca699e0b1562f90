"""The facts about one message for its page: from the queue, or else from the history."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from emailrelay import journal
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import PastMessage, past
from emailrelay.journal import Attempt
from emailrelay.queue.describe import outcome
from emailrelay.queue.headers import HeaderField, header_fields
from emailrelay.queue.journal_words import UNKNOWN_START, journal_words
from emailrelay.queue.row import QueueRow, row
from emailrelay.queue.time_line import drop_words, last_words
from emailrelay.queue_id import QueueId
from emailrelay.store.queue_view import QueueEntry, QueueView
from emailrelay.terminal.human import when
from emailrelay_console.mail.mime_parts import MimeParts, ShownPart, read_parts
from emailrelay_console.mail.part_text import PartText, shown_text
from emailrelay_console.mail.reader import QueueReader
from emailrelay_console.mail.store_holder import StoreHolder

LARGEST = 1024 * 1024
"""Octets of a content that are read for its page."""
MOST_RECIPIENTS = 100
MOST_STEPS = 200
"""Entries of the journal that are shown."""
_MOST_DETAILS = 20
_LONGEST = 2000
"""Characters of one sentence about an entry."""
_PATIENCE = 10.0
"""Seconds for the search of the history."""
_RECORD_FOLLOWS = 0.5
"""Seconds after which the history has the record of a message that has left the store."""
_LATELY = 60.0
"""Seconds of the history that are searched again for it."""
_HTML, _TEXT = "text/html", "text/plain"


class MessageStep(NamedTuple):
    """One line of the time line."""

    when: str
    sentence: str
    details: tuple[str, ...] = ()


class MessageBody(NamedTuple):
    """The beginning of the content of a message."""

    fields: list[HeaderField]
    found: MimeParts
    whole: bool
    """False: the content is larger than what was read."""

    def first(self, kind: str) -> ShownPart | None:
        """Return the first part of a type that is not an attachment."""
        return next((p for p in self.found.parts if p.kind == kind and not p.attached), None)

    @property
    def html(self) -> ShownPart | None:
        """The part with HTML."""
        return self.first(_HTML)

    @property
    def text(self) -> PartText | None:
        """The plain text. None: there is none."""
        part = self.first(_TEXT)
        return None if part is None else shown_text(part)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFacts:
    """The facts about one message. Without ``row``, it has left the store."""

    past: PastMessage
    row: QueueRow | None = None
    envelope: Envelope | None = None
    body: MessageBody | None = None

    @property
    def outcomes(self) -> list[tuple[Address, str]]:
        """Return the first recipients, each with what became of it."""
        known = journal.read(self.past.entries)
        pending = frozenset(self.row.pending) if self.row else frozenset[Address]()
        return [
            (each, _outcome(known, each, pending))
            for each in self.past.recipients[:MOST_RECIPIENTS]
        ]

    @property
    def more_recipients(self) -> int:
        """Return the number of recipients that ``outcomes`` leaves out."""
        return max(0, len(self.past.recipients) - MOST_RECIPIENTS) + self.past.more

    @property
    def steps(self) -> list[MessageStep]:
        """Return the time line, without the oldest entries of a long one."""
        return [*_steps(self.past)][-MOST_STEPS:]

    @property
    def earlier(self) -> int:
        """Return the number of entries that ``steps`` leaves out."""
        return max(0, len(self.past.entries) + 1 - MOST_STEPS)


async def find_message(
    message: QueueId, reader: QueueReader, store: StoreHolder, now: float
) -> MessageFacts | None:
    """Return the facts about a message. None: there is no such message, nor a record of it.

    The record of a message follows its end, so one that was not found is looked for again, there
    only in the newest part of the history.

    Raises:
        See ``QueueReader.read``.

    """
    facts = await _found(HistoryQuery(id=message), message, reader, store, now)
    if facts is None:
        await asyncio.sleep(_RECORD_FOLLOWS)
        lately = HistoryQuery(id=message, since=now - _LATELY)
        facts = await _found(lately, message, reader, store, now)
    return facts


async def _found(
    query: HistoryQuery, message: QueueId, reader: QueueReader, store: StoreHolder, now: float
) -> MessageFacts | None:
    live = await reader.read(lambda view: _live(view, message, now))
    if live is not None:
        return live
    try:
        async with asyncio.timeout(_PATIENCE):
            history = (await store.get()).history()
            async for past in history.find(query):
                return MessageFacts(past=past)
    except TimeoutError:
        raise StoreError("search the history", f"no answer within {_PATIENCE:g} s") from None
    return None


def read_body(view: QueueView, message: QueueId) -> MessageBody | None:
    """Read the beginning of a content. None: there is none."""
    chunks = view.content(message)
    if chunks is None:
        return None
    content = b""
    for chunk in chunks:
        content += chunk
        if len(content) > LARGEST:
            break
    beginning = content[:LARGEST]
    return MessageBody(
        header_fields(beginning), read_parts(beginning), whole=len(content) <= LARGEST
    )


def _live(view: QueueView, message: QueueId, now: float) -> MessageFacts | None:
    entry = next(view.entries(view.listing(ids=[message])), None)
    if entry is None:
        return None
    return MessageFacts(
        past=past_of(entry, now),
        row=row(entry, now),
        envelope=entry.envelope,
        body=read_body(view, message),
    )


def past_of(entry: QueueEntry, now: float) -> PastMessage:
    """Return what the history would tell of a message that is still in the store."""
    nothing = Envelope(sender=Address(""))
    return past(
        entry.listed.id,
        entry.envelope or nothing,
        entry.entries,
        now=now,
        end=None,
        size=entry.listed.size,
        stage=entry.listed.stage,
    )


def _outcome(known: journal.History, address: Address, pending: frozenset[Address]) -> str:
    if (final := outcome(known, address)) is not None:
        return _cut(f"{final[0]}: {final[1]}")
    return "pending" if address in pending else ""


def _steps(past: PastMessage) -> Iterator[MessageStep]:
    if past.arrived is None:
        yield MessageStep("", UNKNOWN_START)
    for entry, words in journal_words(past.entries):
        details = [_cut(each) for each in words.details[:_MOST_DETAILS]]
        if len(words.details) > _MOST_DETAILS:
            details.append(f"and {len(words.details) - _MOST_DETAILS} other replies")
        if isinstance(entry, Attempt) and entry.next_attempt is not None:
            details.append(f"next try at {when(entry.next_attempt)}")
        sentence = drop_words(entry, past) or words.sentence
        yield MessageStep(words.when, _cut(sentence), tuple(details))
    yield MessageStep(when(past.ended), last_words(past))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
