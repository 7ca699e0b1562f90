"""Batches of the PostgreSQL store: items that stay until the database takes them, and others."""

import asyncio
from collections.abc import Iterable, Sequence

import pytest

from emailrelay.errors import RelayError, StoreError, StoreUnusable
from emailrelay.store.postgres.link import batch as batch_module
from emailrelay.store.postgres.link.batch import Batch
from emailrelay.store.postgres.link.trouble import Busy, Conflict, Final, Lost

NO_ROOM = Busy("write", "the database has no room")
CONFLICT = Conflict("write", "another transaction was in the way")
AWAY = Lost("write", "the database does not answer")
REFUSED = StoreError("write", "the database refused")
GONE = Final("write", "it took too long")
UNUSABLE = StoreUnusable("a table is missing")


class Writes:
    """Answers of a database: some errors, then results."""

    def __init__(self, errors: Iterable[RelayError]) -> None:
        self.errors = list(errors)
        self.told: list[StoreError] = []

    async def run(self, items: Sequence[str]) -> Sequence[str]:
        if self.errors:
            raise self.errors.pop(0)
        return [item.upper() for item in items]

    def batch(self, *, stays: bool) -> Batch[str, str]:
        return Batch(self.run, stays=lambda _: stays, tell=self.told.append)


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([], []),
        ([AWAY, AWAY], []),
        ([NO_ROOM, NO_ROOM], [NO_ROOM]),
        ([AWAY, NO_ROOM, AWAY, NO_ROOM], [NO_ROOM]),
    ],
)
async def test_item_that_stays_is_written_at_last_and_a_lack_of_room_told_once(
    errors: list[StoreError], told: list[StoreError]
) -> None:
    writes = Writes(errors)
    assert await writes.batch(stays=True).do("a") == "A"
    assert writes.told == told


async def test_lack_of_room_is_told_again_after_a_success() -> None:
    writes = Writes([NO_ROOM])
    batch = writes.batch(stays=True)
    assert await batch.do("a") == "A"
    writes.errors.append(NO_ROOM)
    assert await batch.do("b") == "B"
    assert writes.told == [NO_ROOM, NO_ROOM]


@pytest.mark.parametrize("error", [NO_ROOM, AWAY])
async def test_item_that_does_not_stay_fails_at_once(error: StoreError) -> None:
    writes = Writes([error])
    with pytest.raises(StoreError) as failed:
        await writes.batch(stays=False).do("a")
    assert failed.value is error
    assert writes.told == []


async def test_conflict_with_another_transaction_is_tried_again() -> None:
    writes = Writes([CONFLICT, CONFLICT])
    assert await writes.batch(stays=False).do("a") == "A"
    assert writes.told == []


async def test_endless_conflict_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "_MOST_CONFLICTS", 1)
    writes = Writes([CONFLICT] * 2)
    with pytest.raises(Conflict):
        await writes.batch(stays=False).do("a")
    assert writes.errors == []


async def test_refused_item_that_stays_is_written_at_last_and_told_once() -> None:
    writes = Writes([REFUSED, REFUSED, AWAY])
    assert await writes.batch(stays=True).do("a") == "A"
    assert writes.told == [REFUSED]


async def test_refused_item_that_stays_stops_no_other() -> None:
    bad = "bad"

    async def run(items: Sequence[str]) -> Sequence[str]:
        if bad in items and not mended.is_set():
            refused.set()
            raise REFUSED
        return items

    mended, refused = asyncio.Event(), asyncio.Event()
    batch = Batch(run, stays=lambda _: True)
    first = batch.put(bad)
    assert await batch.do("with it") == "with it"
    await refused.wait()
    assert await batch.do("after it") == "after it"
    assert not first.done()
    mended.set()
    assert await first == bad


@pytest.mark.parametrize(
    ("error", "stays"), [(REFUSED, False), (GONE, True), (GONE, False), (UNUSABLE, True)]
)
async def test_item_fails_that_does_not_stay_or_cannot_be_written_any_more(
    error: RelayError, *, stays: bool
) -> None:
    writes = Writes([error])
    with pytest.raises(RelayError) as failed:
        await writes.batch(stays=stays).do("a")
    assert failed.value is error
    assert writes.told == []


async def test_item_that_cannot_be_written_any_more_fails_after_a_refusal() -> None:
    with pytest.raises(Final):
        await Writes([REFUSED, GONE]).batch(stays=True).do("a")


async def test_refused_item_fails_when_the_store_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "CLOSING", 0.0)
    writes = Writes([REFUSED])
    batch = writes.batch(stays=True)
    waiting = batch.put("a")
    while not writes.told:  # noqa: ASYNC110 -- seen by asking
        await asyncio.sleep(0)
    await batch.close()
    with pytest.raises(StoreError, match="the service stopped"):
        await waiting
