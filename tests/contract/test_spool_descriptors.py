"""A claim that has ended has closed its files, once, however it ended."""

import asyncio
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, LATER, NEVER, OK, PATIENCE, attempt, claimed, put

from emailrelay.ack import Ack
from emailrelay.errors import StoreError
from emailrelay.settlement import Defer, Done, Fail, Settlement
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files

SETTLEMENTS = [Done(), Defer(attempt(1.0, next_attempt=2.0, ann=LATER)), Fail(NEVER)]


def messages_open() -> list[str]:
    """Give the message files that this process has open, removed ones included."""
    names: list[str] = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            names.append(entry.readlink().name)
        except FileNotFoundError:  # the listing's own
            continue
    return [name for name in names if name.startswith("emailrelay.")]


@pytest.mark.parametrize("settlement", SETTLEMENTS)
async def test_settled_message_is_closed(spool: SpoolOpener, settlement: Settlement) -> None:
    async with spool() as store:
        for _ in range(5):
            async with await claimed(store, await put(store)) as claim:
                assert messages_open()
                await claim.settle(settlement)
            assert messages_open() == []


async def test_message_whose_settlement_is_cancelled_is_closed(spool: SpoolOpener) -> None:
    async with spool() as store, await claimed(store, await put(store)) as claim:
        settling = asyncio.create_task(claim.settle(Done()))
        await asyncio.sleep(0)
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)
    assert messages_open() == []


@pytest.mark.usefixtures("threads_sync")
async def test_message_whose_removal_cannot_be_synced_is_closed(
    synced_spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: str) -> None:
        raise OSError(f"no sync of {path}")

    async with synced_spool() as store:
        async with await claimed(store, await put(store)) as claim:
            with monkeypatch.context() as disk:
                disk.setattr(files, "sync_directory", broken)
                with pytest.raises(StoreError):
                    await claim.settle(Done())
        assert messages_open() == []


async def test_message_whose_client_waited_is_closed(spool: SpoolOpener) -> None:
    async with spool() as store, store.draft(ENVELOPE) as draft:
        draft.write(b"Subject: x\r\n\r\n")
        await draft.commit(Stage.READY, Ack.DELIVERED, "session")
        async with await claimed(store, draft.id) as claim:
            await claim.settle(Done(), answer=OK)
        assert await draft.answer(PATIENCE) == OK
        assert messages_open() == []
