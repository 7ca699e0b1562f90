"""Finds the selected messages of a queue."""

from collections.abc import Iterator

from emailrelay.queue.errors import print_error
from emailrelay.queue.selection import Selection
from emailrelay.queue.state import stages_of
from emailrelay.store.queue_view import Listed, QueueEntry, QueueView


def listed(view: QueueView, wanted: Selection, now: float) -> Iterator[Listed]:
    """Yield the messages that meet the conditions on id, state and age, oldest first."""
    for found in view.listing(stages_of(wanted.states), wanted.ids):
        if wanted.fits_listed(found, now):
            yield found


def select(view: QueueView, wanted: Selection, now: float) -> Iterator[QueueEntry]:
    """Yield the selected messages with their envelopes, oldest first.

    A message that cannot be read is left out with a warning if a condition needs its envelope.
    """
    for entry in view.entries(listed(view, wanted, now)):
        if not wanted.fits_listed(entry.listed, now):  # it has moved since it was listed
            continue
        fits = wanted.fits_entry(entry)
        if fits is None:
            print_error(f"warning: {entry.listed.id} is left out: {entry.problem}")
        elif fits:
            yield entry
