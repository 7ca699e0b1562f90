"""The record of a claimed message that ends, for the history."""

from collections.abc import Sequence

from emailrelay.history_record import past
from emailrelay.journal import Entry
from emailrelay.store.claim import Claim
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.transition import Change


def remember(spool: Spool, claim: Claim, entries: Sequence[Entry], change: Change) -> None:
    """Note the end of a claimed message in the history."""
    if spool.history.on:
        whole = (*entries, *change.entries)
        now, end = spool.clock(), change.end
        spool.history.add(past(claim.id, claim.envelope, whole, now=now, end=end, size=claim.size))
