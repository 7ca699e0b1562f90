"""The description of one message for people: header, envelope, and the time line of its journal."""

from collections.abc import Container, Iterator, Sequence

from emailrelay import journal
from emailrelay.envelope import Address, Body, Envelope
from emailrelay.journal import Entry, History
from emailrelay.printable import printable
from emailrelay.queue.headers import HeaderField, field
from emailrelay.queue.journal_words import UNKNOWN_START, journal_words
from emailrelay.queue.row import QueueRow
from emailrelay.reply import Reply
from emailrelay.schedule import is_due
from emailrelay.terminal.columns import cut
from emailrelay.terminal.human import ahead, octets, when

_MOST_RECIPIENTS = 50
"""Recipients that are shown if not all are asked for."""
_MOST_REPLIES = 10
_LONGEST_FIELD = 200
"""Columns of a header field that are shown if not all is asked for."""


def description(
    row: QueueRow,
    envelope: Envelope,
    entries: Sequence[Entry],
    fields: Sequence[HeaderField],
    now: float,
    *,
    width: int | None,
) -> Iterator[str]:
    """Yield printable lines.

    ``width``: the columns of a terminal, which gets the first recipients and the number of the
    others, and short header fields; None: everything.
    """
    lines = _lines(row, envelope, entries, fields, now, whole=width is None)
    return map(printable, lines)


def _lines(
    row: QueueRow,
    envelope: Envelope,
    entries: Sequence[Entry],
    fields: Sequence[HeaderField],
    now: float,
    *,
    whole: bool,
) -> Iterator[str]:
    history = journal.read(entries)
    yield f"Message {row.id}: {row.state}, {octets(row.size)}"
    if subject := field(list(fields), "Subject"):
        yield f"  subject   {subject}"
    yield f"  from      {envelope.sender or '<> (the null sender: no notice if it fails)'}"
    shown = row.recipients if whole else row.recipients[:_MOST_RECIPIENTS]
    pending = frozenset(row.pending)
    for address in shown:
        yield f"  to        {address}: {_outcome(history, pending, address)}"
    if len(shown) < len(row.recipients):
        yield f"  to        {len(row.recipients) - len(shown):,} more; --wide shows all"
    yield from _envelope_lines(envelope)
    if fields:
        yield "Header"
        most = None if whole else _LONGEST_FIELD
        yield from (cut(f"  {each.name}: {each.value}", most, "...") for each in fields)
    yield "Journal"
    yield from (f"  {line}" for line in _time_line(entries, history, now))


def outcome(history: History, address: str) -> tuple[str, Reply] | None:
    """Return the final reply for a recipient, after its word; None: there is none."""
    for replies, word in ((history.delivered, "delivered"), (history.refused, "refused")):
        if (reply := replies.get(Address(address))) is not None:
            return word, reply
    return None


def _outcome(history: History, pending: Container[str], address: str) -> str:
    if (known := outcome(history, address)) is not None:
        return f"{known[0]} ({known[1]})"
    return "pending" if address in pending else "done"


def _envelope_lines(envelope: Envelope) -> Iterator[str]:
    facts = {
        "client": envelope.client,
        "signed in": envelope.authentication,
        "body": "" if envelope.body is Body.UNKNOWN else envelope.body.value,
        "SMTPUTF8": "yes" if envelope.utf8 else "",
        "route": envelope.forward_to_address or envelope.forward_to,
        "account": envelope.account_selector,
    }
    yield from (f"  {name:9} {fact}" for name, fact in facts.items() if fact)


def _time_line(entries: Sequence[Entry], history: History, now: float) -> Iterator[str]:
    if history.accepted_at is None:
        yield UNKNOWN_START
    for _, words in journal_words(entries):
        line = f"{words.when} {words.sentence}".lstrip()
        if len(words.details) == 1:
            yield f"{line}: {words.details[0]}"
            continue
        yield line
        yield from (f"  {detail}" for detail in words.details[:_MOST_REPLIES])
        if len(words.details) > _MOST_REPLIES:
            yield f"  and {len(words.details) - _MOST_REPLIES} other replies"
    if history.held:
        by = "a filter" if history.held_for else "the operator"
        yield f"held by {by}; 'emailrelay-queue release' sends it back to {history.stage}"
    elif history.next_attempt is not None and history.failed is None:
        left = 0.0 if is_due(history.next_attempt, now) else history.next_attempt - now
        yield f"{when(history.next_attempt)} next try ({ahead(left)})"
