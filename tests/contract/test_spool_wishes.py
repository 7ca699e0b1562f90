"""What an operator has changed stays so after a power cut; the end of a claim loses no wish."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener
from tests.contract.mail import claimed, content_of, history_of, put, stages
from tests.contract.played_cut import cut
from tests.contract.test_spool_log_adoption import FILTERED, filter_in_memory, killed_at

from emailrelay.ack import Ack
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.journal import AdministratorWish, Attempt
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Fail, Hold, Pass, Settlement
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.spool.durable.durability import FileDurability, LogDurability
from emailrelay.store.spool.message import adoption

DELETE, FAIL, HOLD, MOVE, RETRY = (
    AdministratorWish.DELETE,
    AdministratorWish.FAIL,
    AdministratorWish.HOLD,
    AdministratorWish.MOVE,
    AdministratorWish.RETRY,
)
CHANGES = pytest.mark.parametrize(
    ("wish", "stage"),
    [(DELETE, None), (HOLD, Stage.HELD), (FAIL, Stage.FAILED), (MOVE, Stage.HELD)],
)


def found_after(stage: Stage | None, message: QueueId) -> dict[QueueId, Stage]:
    return {} if stage is None else {message: stage}


@CHANGES
async def test_change_of_an_operator_is_in_the_log(
    logged_spool: LoggedSpoolOpener, wish: AdministratorWish, stage: Stage | None
) -> None:
    async with logged_spool() as store, logged_spool() as operator:
        message = await put(store)
        assert await operator.wish(message, wish)
        after = cut(logged_spool)
    async with after() as store:
        assert await stages(store) == found_after(stage, message)


async def test_release_by_an_operator_is_in_the_log(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store)
        assert await store.hold(message)
        assert await store.retry(message)
        after = cut(logged_spool)
    async with after() as store:
        assert await stages(store) == {message: Stage.READY}


@CHANGES
async def test_wish_for_a_claimed_message_is_in_the_log_when_the_claim_has_ended(
    logged_spool: LoggedSpoolOpener, wish: AdministratorWish, stage: Stage | None
) -> None:
    async with logged_spool() as store, logged_spool() as operator:
        message = await put(store)
        async with await claimed(store, message) as claim:
            assert await operator.wish(message, wish)
            await claim.settle(Defer(Attempt(at=1.0, peer="", next_attempt=2.0)))
        after = cut(logged_spool)
    async with after() as store:
        assert await stages(store) == found_after(stage, message)


@CHANGES
async def test_message_whose_result_a_killed_filterd_has_left_is_changed_as_a_whole(
    logged_spool: LoggedSpoolOpener,
    monkeypatch: pytest.MonkeyPatch,
    wish: AdministratorWish,
    stage: Stage | None,
) -> None:
    async with logged_spool() as store:
        message = await killed_at(".content", store, filter_in_memory, monkeypatch)
        assert await store.wish(message, wish)
        assert await stages(store) == found_after(stage, message)
        if stage is not None:
            async with await claimed(store, message, stage) as claim:
                assert await content_of(claim) == FILTERED


async def test_message_whose_left_result_cannot_be_read_can_be_deleted(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sick(_: object) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    async with logged_spool() as store:
        message = await killed_at(".content", store, filter_in_memory, monkeypatch)
        monkeypatch.setattr(adoption, "roll_forward", sick)
        with pytest.raises(StoreError, match="Input/output error"):
            await store.wish(message, HOLD)
        assert await store.wish(message, DELETE)
        assert await stages(store) == {}


class Syncs:
    """What each sync of a file or directory has put on stable storage."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self._root = root
        self.names: list[str] = []
        """The names in the spool at its last sync."""
        self.envelope = b""
        """The octets of an envelope at its last sync."""
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._noting(getattr(os, name)))

    def _noting(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def noting(descriptor: int) -> None:
            self._note(Path(f"/proc/self/fd/{descriptor}").resolve())
            sync(descriptor)

        return noting

    def _note(self, path: Path) -> None:
        if path == self._root:
            self.names = [each.name for each in path.glob("emailrelay.*")]
        elif ".envelope" in path.name:
            self.envelope = path.read_bytes()


@CHANGES
@pytest.mark.usefixtures("threads_sync")
async def test_change_of_an_operator_is_synced_where_there_is_no_log(
    synced_spool: SpoolOpener,
    wish: AdministratorWish,
    stage: Stage | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with synced_spool() as store:
        message = await put(store)
        syncs = Syncs(monkeypatch, synced_spool.directory)
        assert await store.wish(message, wish)
        names = [path.name for path in synced_spool.directory.glob("emailrelay.*")]
        assert sorted(syncs.names) == sorted(names)
        if stage is not None:
            (envelope,) = synced_spool.directory.glob("*.envelope.*")
            assert syncs.envelope == envelope.read_bytes()


@pytest.mark.usefixtures("threads_sync")
async def test_request_for_the_holder_of_a_claim_is_synced(
    synced_spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with synced_spool() as store:
        message = await put(store)
        async with await claimed(store, message):
            syncs = Syncs(monkeypatch, synced_spool.directory)
            assert await store.delete(message)
            assert b'"wish":"delete"' in syncs.envelope


def wish_during_the_sync(
    monkeypatch: pytest.MonkeyPatch,
    operator: Store,
    message: QueueId,
    *wishes: AdministratorWish,
    cancels: bool = False,
) -> None:
    """Have an operator ask for something while each of the next settlements is being synced.

    ``cancels``: the settlement is cancelled as well.
    """
    left = list(wishes)

    def asking(step: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def asked(*arguments: object) -> None:
            wish = left.pop(0)
            if not left:
                monkeypatch.undo()
            assert await operator.wish(message, wish)
            settling = asyncio.current_task()
            if cancels and settling is not None:
                settling.cancel()
            await step(*arguments)

        return asked

    for way in (FileDurability, LogDurability):
        for name in ("keep", "adopt"):
            monkeypatch.setattr(way, name, asking(getattr(way, name)))


ENDS: list[tuple[Settlement, AdministratorWish, Stage | None]] = [
    (Hold("a virus"), DELETE, None),
    (Hold("a virus"), FAIL, Stage.FAILED),
    (Hold(), RETRY, Stage.UNFILTERED),
    (Fail(Reply(550, "5.1.1 nobody")), DELETE, None),
    (Fail(Reply(550, "5.1.1 nobody")), RETRY, Stage.UNFILTERED),
    (Pass(quarantine="a virus"), DELETE, None),
    (Pass(quarantine="a virus"), RETRY, Stage.HELD),
]


@pytest.mark.parametrize(("settlement", "wish", "stage"), ENDS)
async def test_wish_during_the_sync_of_a_settlement_is_carried_out(
    spool: SpoolOpener,
    settlement: Settlement,
    wish: AdministratorWish,
    stage: Stage | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with spool() as store, spool() as operator:
        message = await put(store, stage=Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            wish_during_the_sync(monkeypatch, operator, message, wish)
            await claim.settle(settlement)
        assert await stages(store) == found_after(stage, message)


@pytest.mark.parametrize(("wish", "stage"), [(DELETE, None), (RETRY, Stage.HELD)])
async def test_wish_during_the_sync_of_a_changed_message_in_quarantine_is_carried_out(
    spool: SpoolOpener,
    wish: AdministratorWish,
    stage: Stage | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with spool() as store, spool() as operator:
        message = await put(store, stage=Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            copy.content.write_bytes(b"Subject: filtered\r\n\r\n")
            wish_during_the_sync(monkeypatch, operator, message, wish)
            await claim.settle(Pass(quarantine="a virus"))
        assert await stages(store) == found_after(stage, message)
        if stage is Stage.HELD:
            assert (await history_of(store, message)).held_for == "a virus"


async def test_wish_during_the_sync_of_a_settlement_that_is_cancelled_is_carried_out(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store, spool() as operator:
        message = await put(store)

        async def fail() -> None:
            async with await claimed(store, message) as claim:
                wish_during_the_sync(monkeypatch, operator, message, DELETE, cancels=True)
                await claim.settle(Fail(Reply(550, "5.1.1 nobody")))

        task = asyncio.create_task(fail())
        await asyncio.wait((task,))
        assert task.cancelled()
        assert await stages(store) == {}


async def test_wish_during_the_sync_of_another_operators_change_is_carried_out(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store, spool() as operator:
        message = await put(store)
        wish_during_the_sync(monkeypatch, operator, message, DELETE)
        assert await store.wish(message, HOLD)
        assert await stages(store) == {}


@pytest.mark.parametrize(
    ("wishes", "stage"),
    [((FAIL, DELETE), None), ((FAIL, HOLD), Stage.HELD), ((FAIL, FAIL), Stage.FAILED)],
)
async def test_each_wish_during_the_sync_of_the_one_before_is_carried_out(
    spool: SpoolOpener,
    wishes: tuple[AdministratorWish, ...],
    stage: Stage | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with spool() as store, spool() as operator:
        message = await put(store)
        wish_during_the_sync(monkeypatch, operator, message, *wishes)
        assert await store.wish(message, HOLD)
        assert await stages(store) == found_after(stage, message)


async def test_wish_during_the_sync_of_one_that_a_notifier_carries_out_is_carried_out(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store, spool() as operator:
        message = await put(store)
        assert await store.fail(message)
        failure = await store.failure(message)
        assert failure is not None
        async with failure:
            assert await operator.wish(message, HOLD)
            wish_during_the_sync(monkeypatch, operator, message, DELETE)
        assert await stages(store) == {}


@pytest.mark.usefixtures("threads_sync")
async def test_deletion_of_the_rest_of_an_answered_delivery_is_synced(
    synced_spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Address("a@there.test"), Address("b@there.test")
    envelope = Envelope(sender=Address("from@us.test"), to_remote=(first, second))
    async with synced_spool() as store, store.draft(envelope) as draft:
        draft.write(b"Subject: x\r\n\r\nx\r\n")
        await draft.commit(Stage.READY, Ack.DELIVERED)
        async with await claimed(store, draft.id) as claim:
            assert await store.delete(draft.id)
            syncs = Syncs(monkeypatch, synced_spool.directory)
            replies = {first: Reply(250, "2.0.0 Ok"), second: Reply(450, "4.2.0 later")}
            attempt = Attempt(at=1.0, peer="there", replies=replies, next_attempt=2.0)
            syncs.names = ["none"]
            await claim.settle(Defer(attempt), Reply(250, "2.0.0 Ok"))
        assert await stages(store) == {}
        assert syncs.names == []
