"""The description of one message for people: header, envelope, and the time line of its journal."""

from collections.abc import Iterator, Mapping, Sequence

from emailrelay import journal
from emailrelay.acceptance import Accepted
from emailrelay.envelope import Envelope
from emailrelay.journal import Attempt, Entry, History
from emailrelay.printable import printable
from emailrelay.queue.headers import HeaderField, field
from emailrelay.queue.row import QueueRow, reply_of
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
    for address in shown:
        yield f"  to        {address}: {_outcome(history, envelope, address)}"
    if len(shown) < len(row.recipients):
        yield f"  to        {len(row.recipients) - len(shown):,} more; --wide shows all"
    yield from _envelope_lines(envelope)
    if fields:
        yield "Header"
        most = None if whole else _LONGEST_FIELD
        yield from (cut(f"  {each.name}: {each.value}", most, "...") for each in fields)
    yield "Journal"
    yield from (f"  {line}" for line in _time_line(entries, history, now))


def _outcome(history: History, envelope: Envelope, address: str) -> str:
    for told, word in ((history.delivered, "delivered"), (history.refused, "refused")):
        for known, reply in told.items():
            if known == address:
                return f"{word} ({reply})"
    return "pending" if address in history.pending(envelope) else "done"


def _envelope_lines(envelope: Envelope) -> Iterator[str]:
    facts = {
        "client": envelope.client,
        "signed in": envelope.authentication,
        "body": envelope.body.value,
        "SMTPUTF8": "yes" if envelope.utf8 else "",
        "route": envelope.forward_to_address or envelope.forward_to,
        "account": envelope.account_selector,
    }
    yield from (f"  {name:9} {fact}" for name, fact in facts.items() if fact)


def _time_line(entries: Sequence[Entry], history: History, now: float) -> Iterator[str]:
    if history.accepted_at is None:
        yield "written by another program: the time of acceptance is unknown"
    tries = 0
    for entry in entries:
        if isinstance(entry, journal.Released):
            tries = 0
        if isinstance(entry, Attempt):
            yield f"{when(entry.at)} {_try(entry, tries)}"
            yield from _replies(entry)
            tries += entry.tries
        else:
            yield f"{when(entry.at)} {_event(entry, history)}"
    if history.held:
        by = "a filter" if history.held_for else "the operator"
        yield f"held by {by}; 'emailrelay-queue release' sends it back to {history.stage}"
    elif history.next_attempt is not None and history.failed is None:
        left = 0.0 if is_due(history.next_attempt, now) else history.next_attempt - now
        yield f"{when(history.next_attempt)} next try ({ahead(left)})"


def _try(attempt: Attempt, before: int) -> str:
    # The journal does not tell whether a try was stopped by the server's reply or by this relay.
    said = ": ".join(part for part in (attempt.peer, reply_of(attempt) or "no answer") if part)
    if attempt.tries == 0:
        return f"earlier replies: {said}"
    if attempt.tries == 1:
        return f"try {before + 1}: {said}"
    return f"tries {before + 1} to {before + attempt.tries}, the last one: {said}"


def _replies(attempt: Attempt) -> Iterator[str]:
    """Yield the replies of a try in which recipients got different ones."""
    grouped = dict[str, list[str]]()
    for address, said in attempt.replies.items():
        grouped.setdefault(str(said), []).append(address)
    if len(grouped) < 2:
        return
    for reply, addresses in list(grouped.items())[:_MOST_REPLIES]:
        more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        yield f"  {addresses[0]}{more}: {reply}"
    if len(grouped) > _MOST_REPLIES:
        yield f"  and {len(grouped) - _MOST_REPLIES} other replies"


_PLAIN: Mapping[type, str] = {
    journal.Answered: "its client got the answer 250",
    journal.Released: "released: age and tries start again",
    journal.Flushed: "made due by the operator",
    journal.Notified: "the sender has been notified, or cannot be",
}


def _event(entry: Entry, history: History) -> str:
    match entry:
        case Accepted():
            return f"accepted, {octets(entry.length)}"
        case journal.Filtered():
            return f"passed the filters, {octets(entry.length)}"
        case journal.Failure():
            return f"failed when {entry.stage}: {entry.reason}"
        case journal.Held():
            return f"held when {entry.stage}" + (f": {entry.reason}" if entry.reason else "")
        case journal.Moving():
            return f"set aside for a move{f' from {entry.origin}' if entry.origin else ''}"
        case journal.Doubted():
            return (
                "a forwarder ended while it waited for the final reply:"
                f" {entry.peer} may have two copies"
            )
        case journal.Wished():
            waits = "; it takes effect when the present try ends" if history.wish else ""
            return f"the operator asked for {entry.wish}{waits}"
        case _:
            return _PLAIN[type(entry)]
