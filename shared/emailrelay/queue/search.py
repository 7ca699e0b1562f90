"""Finds the selected messages of a store and reads their envelopes."""

from collections.abc import AsyncGenerator

from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.journal import History
from emailrelay.queue.errors import print_error
from emailrelay.queue.row import QueueRow, damaged, row
from emailrelay.queue.selection import Selection
from emailrelay.queue.state import stages_of
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Listed, Store


async def find(
    store: Store, selection: Selection, now: float
) -> AsyncGenerator[tuple[Listed, QueueRow | None]]:
    """Yield the selected messages in no particular order, with a row if the envelope was read."""
    async for listed in store.listing(stages_of(selection.states)):
        if not selection.by_name(listed, now):
            continue
        if selection.names_suffice:
            yield listed, None
        elif (found := await _read(store, listed, selection, now)) is not None:
            yield listed, found


async def rows(store: Store, selection: Selection, now: float) -> AsyncGenerator[QueueRow]:
    """Yield the rows of the selected messages; messages that leave meanwhile are left out."""
    async for listed, found in find(store, selection, now):
        entry = found or await _read(store, listed, Selection(), now)
        if entry is not None:
            yield entry


async def _read(store: Store, listed: Listed, selection: Selection, now: float) -> QueueRow | None:
    try:
        described = await store.describe(listed.id)
    except (DamagedMessage, StoreError) as error:  # of one message: the others are shown
        if selection.names_suffice:
            return damaged(listed, str(error), now)
        print_error(f"warning: {listed.id} is left out: {error}")
        return None
    if described is None or not selection.by_envelope(described[1]):
        return None
    return row(listed, described[1], described[2], now)


async def details(
    store: Store, message: QueueId, now: float
) -> tuple[QueueRow, Envelope, History] | QueueRow | None:
    """Return all details of one message; only a row if its envelope cannot be read."""
    selection = Selection(ids=frozenset({message}))
    async for listed, _ in find(store, selection, now):
        try:
            described = await store.describe(message)
        except (DamagedMessage, StoreError) as error:
            return damaged(listed, str(error), now)
        if described is not None:
            _, envelope, history = described
            return row(listed, envelope, history, now), envelope, history
    return None
