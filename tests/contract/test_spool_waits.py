"""Clients that wait for the delivery, in a spool: no file unless something goes wrong."""

import asyncio
import shutil
import stat
from pathlib import Path

from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, LATER, OK, PATIENCE, Clock, claimed, stages

from emailrelay.ack import Ack
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Done, Fail
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.draft import Draft


async def waits(store: Store) -> Draft:
    draft = store.draft(ENVELOPE)
    draft.write(b"Subject: x\r\n\r\n")
    await draft.commit(Stage.READY, Ack.DELIVERED)
    return draft


async def answered(draft: Draft) -> Reply | None:
    async with asyncio.timeout(PATIENCE):
        return await draft.answer(PATIENCE)


def files_of_waits(spool: SpoolOpener) -> list[Path]:
    return list((spool.directory / ".waiting").iterdir())


async def test_delivery_that_is_waited_for_makes_no_file(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, await waits(store) as draft:
        assert files_of_waits(spool) == []
        async with await claimed(other, draft.id) as claim:
            assert await claim.before_dot("mx.test:25")
            assert files_of_waits(spool) == []
            assert await claim.settle(Done(), answer=OK)
        assert files_of_waits(spool) == []
        assert await answered(draft) == OK


async def test_answer_without_a_socket_is_found_in_a_file(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, await waits(store) as draft:
        shutil.rmtree(spool.directory / ".wake")
        async with await claimed(other, draft.id) as claim:
            assert await claim.settle(Done(), answer=OK)
        assert await answered(draft) == OK
        assert files_of_waits(spool) == []


async def test_refused_message_is_gone_when_its_client_hears_that(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, await waits(store) as draft:
        waiting = asyncio.create_task(answered(draft))
        async with await claimed(other, draft.id) as claim:
            await claim.settle(Fail(LATER), answer=LATER)
        assert await stages(other) == {}
        assert await waiting == LATER


async def test_mark_of_a_client_that_has_gone_ends_with_the_claim(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other:
        for answer in (None, OK, LATER):
            async with await waits(store) as draft:
                claim = await claimed(other, draft.id)
            assert [path.name for path in files_of_waits(spool)] == [f"{draft.id}.withdrawn"]
            assert not await claim.before_dot("mx.test:25")
            await claim.settle(Done(), answer=answer)
            assert files_of_waits(spool) == []
        assert await stages(other) == {}


async def test_unclaimed_message_is_withdrawn_without_a_mark(spool: SpoolOpener) -> None:
    async with spool() as store:
        async with await waits(store) as draft:
            assert await draft.answer(0) is None
        assert files_of_waits(spool) == []
        assert await stages(store) == {}


async def test_sweep_removes_the_ends_of_waits_of_dead_receivers_only(spool: SpoolOpener) -> None:
    async with spool() as store, await waits(store) as draft:
        without_files = QueueId(draft.id + "0")  # a forwarder may have it
        for message in (draft.id, without_files, "1700000000000.1.1"):
            (spool.directory / f".waiting/{message}.withdrawn").touch()
        async with spool(Clock(4e9)):  # long after, or the clock was set forward
            kept = {path.name for path in files_of_waits(spool)}
        assert kept == {f"{draft.id}.withdrawn", f"{without_files}.withdrawn"}


async def test_sweep_removes_the_socket_of_a_dead_receiver(spool: SpoolOpener) -> None:
    async with spool() as store, await waits(store):
        (alive,) = (spool.directory / ".wake").glob("answers.*")
        (spool.directory / ".wake" / "answers.1").touch()
        async with spool():
            assert list((spool.directory / ".wake").glob("answers.*")) == [alive]


async def test_only_the_owner_of_a_sticky_spool_can_answer(spool: SpoolOpener) -> None:
    spool.directory.mkdir(mode=0o770)
    for mode, others in ((0o770, True), (0o3770, False)):
        spool.directory.chmod(mode)
        shutil.rmtree(spool.directory / ".wake", ignore_errors=True)
        async with spool() as store, await waits(store):
            (socket,) = (spool.directory / ".wake").glob("answers.*")
            assert bool(socket.stat().st_mode & stat.S_IRWXG) is others
