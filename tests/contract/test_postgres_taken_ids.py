"""A new message never disappears behind another one that has its id, or had it."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import ENVELOPE, claimed, content_of, put, stages, write

from emailrelay.acceptance import Accepted
from emailrelay.errors import IdTaken, StoreError
from emailrelay.journal import Entry, Moving
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done, Pass
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK, Store
from emailrelay.store.chooser import open_store

FIRST, SECOND = b"Subject: first\r\n\r\n", b"Subject: second\r\n\r\n"
LARGE = [bytes([n]) * CHUNK for n in range(5)]


async def put_as(store: Store, message: QueueId, *content: bytes) -> None:
    async with store.draft(ENVELOPE, message) as draft:
        await write(draft, *content)
        await draft.commit(Stage.READY)


async def adopt(store: Store, message: QueueId, *content: bytes, once: bool = True) -> None:
    """Hand a message over, as a move does."""

    async def chunks() -> AsyncGenerator[bytes]:
        for chunk in content:
            yield chunk

    octets: AsyncIterator[bytes] = chunks()
    length = sum(map(len, content))
    entries: list[Entry] = [
        Accepted(at=time.time(), stage=Stage.READY, length=length, crc32=0),
        Moving(at=time.time(), stage=Stage.READY, origin="elsewhere"),
    ]
    await store.adopt(message, ENVELOPE, entries, octets, once=once)


@pytest.mark.parametrize("second", [[SECOND], LARGE], ids=["small", "large"])
async def test_commit_under_the_id_of_another_message_fails(
    database: PostgresOpener, second: list[bytes]
) -> None:
    async with database() as store:
        message = await put(store, FIRST)
        with pytest.raises(IdTaken, match="another message has its id"):
            await put_as(store, message, *second)
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == FIRST


async def test_commit_under_the_id_of_a_message_that_has_left_fails(
    database: PostgresOpener,
) -> None:
    async with database() as store:
        message = await put(store, FIRST)
        async with await claimed(store, message) as claim:
            await claim.settle(Done())
        with pytest.raises(IdTaken, match="another message has its id, or had it"):
            await put_as(store, message, SECOND)


async def test_taken_id_stops_no_commit_of_the_same_batch(database: PostgresOpener) -> None:
    async with database() as store:
        message = await put(store, FIRST)
        taken = put_as(store, message, SECOND)
        ends = await asyncio.gather(
            put(store), taken, *[put(store) for _ in range(5)], return_exceptions=True
        )
        assert [end for end in ends if not isinstance(end, str)] == [ends[1]]
        assert isinstance(ends[1], IdTaken)
        assert len(await stages(store)) == 7


async def test_client_whose_message_got_a_taken_id_sends_it_again(
    database: PostgresOpener, tmp_path: Path
) -> None:
    fallback = f"spool://{tmp_path / 'spool'}"
    async with open_store(database.url, report=database.reports.append, fallback=fallback) as store:
        message = await put(store, FIRST)
        with pytest.raises(IdTaken):
            await put_as(store, message, SECOND)
        assert await stages(store) == {message: Stage.READY}


@pytest.mark.parametrize("once", [True, False])
async def test_message_is_not_taken_over_under_the_id_of_another(
    database: PostgresOpener, *, once: bool
) -> None:
    async with database() as store:
        message = await put(store, FIRST)
        with pytest.raises(StoreError, match="the database has another message with this id"):
            await adopt(store, message, SECOND, once=once)
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == FIRST


@pytest.mark.parametrize("message", ["hello", "01700000000000.1.1"])
async def test_message_with_an_id_of_another_program_is_not_taken_over(
    database: PostgresOpener, message: str
) -> None:
    async with database() as store:
        with pytest.raises(StoreError, match="its id is another program's; rename both"):
            await adopt(store, QueueId(message), FIRST)
        assert await stages(store) == {}


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("content", [[FIRST], LARGE], ids=["small", "large"])
async def test_second_try_of_a_move_changes_no_message_that_filters_have_changed(
    database: PostgresOpener, content: list[bytes], *, once: bool
) -> None:
    async with database() as store:
        message = await put(store, b"".join(content), Stage.UNFILTERED)
        claim = await claimed(store, message, Stage.UNFILTERED)
        copy = await claim.work_copy("new")
        copy.content.write_bytes(SECOND)
        await claim.settle(Pass())
        await adopt(store, message, *content, once=once)
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == SECOND
    assert database.run("select count(*) from emailrelay.body") == [(1,)]
    assert database.run("select count(*) from emailrelay.draft") == [(0,)]


@pytest.mark.parametrize("content", [[FIRST], LARGE], ids=["small", "large"])
async def test_message_that_has_left_comes_back_only_if_it_may(
    database: PostgresOpener, content: list[bytes]
) -> None:
    async with database() as store:
        message = await put(store, b"".join(content))
        async with await claimed(store, message) as claim:
            await claim.settle(Done())
        await adopt(store, message, *content)
        assert await stages(store) == {}
        assert database.run("select count(*) from emailrelay.body") == [(0,)]
        await adopt(store, message, *content, once=False)
        async with await claimed(store, message, Stage.HELD) as claim:
            assert await content_of(claim) == b"".join(content)
    assert database.run("select count(*) from emailrelay.draft") == [(0,)]
