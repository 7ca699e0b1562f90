"""Tables and descriptions of messages for the terminal."""

import time
from collections.abc import Iterable, Iterator, Sequence

from rich.table import Table

from emailrelay.envelope import Envelope
from emailrelay.journal import Attempt, History
from emailrelay.queue.row import QueueRow, age, octets, reply_of
from emailrelay.queue.state import State
from emailrelay.queue.totals import Totals
from emailrelay.terminal.screen import new_table, plain

_COLOURS = {
    State.UNFILTERED: "cyan",
    State.READY: "green",
    State.DEFERRED: "yellow",
    State.HELD: "magenta",
    State.FAILED: "red",
}


def table(rows: Iterable[QueueRow], now: float) -> Table:
    """Return a table of messages."""
    listing = new_table()
    listing.add_column("ID", no_wrap=True)
    listing.add_column("State", no_wrap=True)
    for heading in ("Age", "Size"):
        listing.add_column(heading, justify="right", no_wrap=True)
    listing.add_column("Sender", overflow="fold")
    listing.add_column("Recipients", overflow="fold")
    listing.add_column("Tries", justify="right")
    listing.add_column("Next", justify="right", no_wrap=True)
    listing.add_column("Last reply", overflow="fold")
    for entry in rows:
        listing.add_row(*_cells(entry, now))
    return listing


def _cells(entry: QueueRow, now: float) -> Iterator[str]:
    yield entry.id
    yield f"[{_COLOURS[entry.state]}]{entry.state}[/]"
    yield age(now - entry.arrived)
    yield octets(entry.size)
    yield plain("?" if entry.sender is None else entry.sender or "<>")
    yield plain(_recipients(entry))
    yield str(entry.attempts)
    yield "" if entry.next_attempt is None else f"in {age(entry.next_attempt - now)}"
    yield plain(entry.last_reply)


def _recipients(entry: QueueRow) -> str:
    first = entry.pending or entry.recipients
    named = first[0] if first else ""
    if len(entry.recipients) < 2:
        return named
    return f"{named} ({len(entry.pending)}/{len(entry.recipients)} pending)"


def details(entry: QueueRow, envelope: Envelope, history: History) -> Iterator[str]:
    """Yield the lines that describe a message's envelope and journal."""
    yield f"Message {entry.id}: {entry.state}, {octets(entry.size)}"
    yield f"  from      {envelope.sender or '<> (the null sender: no notice if it fails)'}"
    for address in entry.recipients:
        yield f"  to        {address}: {_outcome(history, envelope, address)}"
    yield from _envelope_lines(envelope)
    yield "Journal"
    yield from (f"  {line}" for line in _journal_lines(history))


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


def _journal_lines(history: History) -> Iterator[str]:
    if history.accepted_at is None:
        yield "written by another program: the time of acceptance is unknown"
    else:
        size = "" if history.length is None else f", {history.length} octets"
        yield f"{when(history.accepted_at)} accepted{size}"
    if history.last_attempt is not None:
        tries = "1 try" if history.attempts == 1 else f"{history.attempts} tries"
        yield f"{when(history.last_attempt.at)} {tries}, the last one: {_try(history.last_attempt)}"
    for peer in history.doubts:
        yield f"a sender died at the final dot: {peer} may have two copies"
    if history.failed is not None:
        failed = history.failed
        yield f"{when(failed.at)} failed when {failed.stage}: {failed.reason}"
    if history.held:
        yield f"held by the operator; 'emailrelay-queue release' sends it back to {history.stage}"
    if history.next_attempt is not None and history.failed is None:
        yield f"{when(history.next_attempt)} next try"
    if history.wish is not None:
        yield f"the operator's {history.wish} takes effect when the present try ends"
    if history.notified:
        yield "the sender has been told, or cannot be"


def _try(attempt: Attempt) -> str:
    # The journal does not tell whether a try was stopped by the server's reply or by this relay.
    return ": ".join(part for part in (attempt.peer, reply_of(attempt) or "no answer") if part)


def when(moment: float) -> str:
    """Return a date and time in the local time zone, with its offset."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(moment))
    except (OverflowError, ValueError, OSError):  # a journal may hold any number
        return f"@{moment:g}"


def totals_table(totals: Sequence[tuple[str, Totals]], now: float) -> Table:
    """Return a table of the totals of each state."""
    listing = new_table()
    listing.add_column("State")
    for heading in ("Messages", "Octets", "Oldest"):
        listing.add_column(heading, justify="right")
    for name, total in totals:
        oldest = "" if total.oldest is None else age(now - total.oldest)
        listing.add_row(name, str(total.messages), octets(total.octets), oldest)
    return listing
