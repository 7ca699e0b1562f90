"""Finds the selected messages of a queue."""

from collections.abc import Iterator

from emailrelay.queue.errors import print_error
from emailrelay.queue.selection import Selection
from emailrelay.queue.state import stages_of
from emailrelay.store.queue_view import Listed, QueueEntry, QueueView


def by_name(view: QueueView, wanted: Selection, now: float) -> Iterator[Listed]:
    """Yield the messages that meet the conditions on id, state and age, oldest first."""
    for listed in view.listing(stages_of(wanted.states), wanted.ids):
        if wanted.by_name(listed, now):
            yield listed


def select(view: QueueView, wanted: Selection, now: float) -> Iterator[QueueEntry]:
    """Yield the selected messages with their envelopes, oldest first.

    A message that cannot be read is left out with a warning if a condition needs its envelope.
    """
    for entry in view.entries(by_name(view, wanted, now)):
        fits = wanted.by_entry(entry)
        if fits is None:
            print_error(f"warning: {entry.listed.id} is left out: {entry.problem}")
        elif fits:
            yield entry
