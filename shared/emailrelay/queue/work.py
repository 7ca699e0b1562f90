"""What is done to the chosen messages of a store, one by one."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.journal import History
from emailrelay.queue.row import QueueRow, damaged, row
from emailrelay.queue.selection import Selection
from emailrelay.queue.state import State, stages_of
from emailrelay.queue.terminal import complain
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Listed, Store


class Verb(StrEnum):
    """What can be asked for."""

    HOLD = "hold"
    RELEASE = "release"
    RETRY = "retry"
    FAIL = "fail"
    DELETE = "delete"
    FLUSH = "flush"


APPLIES_TO = {
    Verb.HOLD: frozenset({State.UNFILTERED, State.READY, State.DEFERRED}),
    Verb.RELEASE: frozenset({State.HELD}),
    Verb.RETRY: frozenset({State.DEFERRED, State.HELD, State.FAILED}),
    Verb.FAIL: frozenset({State.UNFILTERED, State.READY, State.DEFERRED, State.HELD}),
    Verb.DELETE: frozenset(State),
    Verb.FLUSH: frozenset({State.DEFERRED}),
}
"""Which states a verb changes; messages in others are passed over."""


@dataclass(slots=True)
class WorkResult:
    """What became of the messages asked about."""

    done: list[QueueId] = field(default_factory=list[QueueId])
    gone: list[QueueId] = field(default_factory=list[QueueId])
    """Delivered or moved on by somebody else meanwhile."""
    failed: dict[QueueId, str] = field(default_factory=dict[QueueId, str])


async def chosen(
    store: Store, selection: Selection, now: float
) -> AsyncGenerator[tuple[Listed, QueueRow | None]]:
    """Give the chosen messages, in no particular order; their rows if envelopes had to be read."""
    async for listed in store.listing(stages_of(selection.states)):
        if not selection.by_name(listed, now):
            continue
        if selection.names_suffice:
            yield listed, None
        elif (found := await _read(store, listed, selection, now)) is not None:
            yield listed, found


async def rows(store: Store, selection: Selection, now: float) -> AsyncGenerator[QueueRow]:
    """Give the rows of the chosen messages; a message that left meanwhile is left out."""
    async for listed, found in chosen(store, selection, now):
        entry = found or await _read(store, listed, Selection(), now)
        if entry is not None:
            yield entry


async def _read(store: Store, listed: Listed, selection: Selection, now: float) -> QueueRow | None:
    try:
        described = await store.describe(listed.id)
    except (DamagedMessage, StoreError) as error:  # of one message: the others are shown
        if selection.names_suffice:
            return damaged(listed, str(error), now)
        complain(f"warning: {listed.id} is left out: {error}", 0)
        return None
    if described is None or not selection.by_envelope(described[1]):
        return None
    return row(listed, described[1], described[2], now)


async def story(
    store: Store, message: QueueId, now: float
) -> tuple[QueueRow, Envelope, History] | QueueRow | None:
    """Give all there is to tell of one message: a row alone if its envelope cannot be read."""
    selection = Selection(ids=frozenset({message}))
    async for listed, _ in chosen(store, selection, now):
        try:
            described = await store.describe(message)
        except (DamagedMessage, StoreError) as error:
            return damaged(listed, str(error), now)
        if described is not None:
            _, envelope, history = described
            return row(listed, envelope, history, now), envelope, history
    return None


async def apply(store: Store, verb: Verb, messages: Iterable[QueueId]) -> WorkResult:
    """Do the same to each message; trouble with one does not stop the others."""
    act = _act(store, verb)
    outcome = WorkResult()
    for message in messages:
        try:
            (outcome.done if await act(message) else outcome.gone).append(message)
        except StoreError as error:
            outcome.failed[message] = str(error)
    return outcome


def _act(store: Store, verb: Verb) -> Callable[[QueueId], Awaitable[bool]]:
    match verb:
        case Verb.HOLD:
            return store.hold
        case Verb.RELEASE | Verb.RETRY:
            return store.retry
        case Verb.FAIL:
            return store.fail
        case Verb.DELETE:
            return store.delete
        case Verb.FLUSH:
            return store.flush
        case _:
            assert_never(verb)
