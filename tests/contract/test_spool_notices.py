"""A notice about several messages whose process died between their records."""

from pathlib import Path

import pytest
from tests.contract.mail import history_of, put
from tests.contract.test_failures import failure_of, text

from emailrelay.errors import StoreError
from emailrelay.events.event import Event
from emailrelay.events.store import StoreTrouble
from emailrelay.journal import AdministratorWish, Notified
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.store.spool.message import notice
from emailrelay.store.spool.message.moves import Locked


def nothing(_event: Event) -> None:
    """Take reports."""


async def failed(store: Store) -> QueueId:
    message = await put(store)
    assert await store.fail(message)
    return message


async def test_message_that_a_recorded_notice_is_about_is_told_of_in_no_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = notice.record
    recorded: list[QueueId] = []

    def dying(locked: Locked, noted: Notified) -> None:
        if recorded:
            raise OSError
        recorded.append(locked.id)
        record(locked, noted)

    async with open_store(tmp_path, report=nothing) as store:
        first, second = await failed(store), await failed(store)
        monkeypatch.setattr(notice, "record", dying)
        async with (
            await failure_of(store, first) as failure,
            await failure_of(store, second) as other,
        ):
            with pytest.raises(StoreError):
                await failure.prepare(text, local=False, also=(other,))
        monkeypatch.setattr(notice, "record", record)
        assert recorded == [first]
        assert await store.failure(second) is None
    async with open_store(tmp_path, report=nothing) as later:
        for message in (first, second):
            assert (await history_of(later, message)).notified
        assert len([listed async for listed in later.listing()]) == 3


@pytest.mark.parametrize("wish", [AdministratorWish.RETRY, AdministratorWish.DELETE])
@pytest.mark.parametrize("others_wish", [None, AdministratorWish.HOLD])
async def test_notice_is_sent_although_the_message_with_which_it_lies_has_gone(
    tmp_path: Path, wish: AdministratorWish, others_wish: AdministratorWish | None
) -> None:
    async with open_store(tmp_path, report=nothing) as store:
        first, second = await failed(store), await failed(store)
        async with (
            await failure_of(store, first) as failure,
            await failure_of(store, second) as other,
        ):
            prepared = await failure.prepare(text, local=False, also=(other,))
        assert await store.wish(first, wish)
        if others_wish is not None:
            assert await store.wish(second, others_wish)
    async with open_store(tmp_path, report=nothing) as later:
        assert prepared.id in {listed.id async for listed in later.listing()}
        assert (await history_of(later, second)).notified


async def test_notice_that_cannot_be_read_does_not_keep_the_others_back(tmp_path: Path) -> None:
    reports: list[Event] = []
    async with open_store(tmp_path, report=nothing) as store:
        for _ in range(3):
            async with await failure_of(store, await failed(store)) as failure:
                await failure.prepare(text, local=False)
    bad, *_ = (tmp_path / ".dsn").iterdir()
    (envelope,) = bad.glob("*.envelope*")
    envelope.write_bytes(b"torn")
    async with open_store(tmp_path, report=reports.append) as later:
        assert len([listed async for listed in later.listing()]) == 5
    (trouble,) = (event for event in reports if isinstance(event, StoreTrouble))
    assert trouble.doing == f"recover {bad.name}"
