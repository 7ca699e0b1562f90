"""A large message takes little memory: receiving, filtering, adopting and reading it."""

import tracemalloc
import zlib

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import ENVELOPE, claimed

from emailrelay.settlement import Done, Pass
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK, Store
from emailrelay.store.claim import Claim

SIZE = 50 * 1024 * 1024
MOST = 16 * 1024 * 1024
PIECE = bytes(range(256)) * 256


async def put_large(store: Store) -> Claim:
    async with store.draft(ENVELOPE) as draft:
        for _ in range(SIZE // len(PIECE)):
            if not draft.write(PIECE):
                await draft.drain()
        await draft.commit(Stage.UNFILTERED)
    return await claimed(store, draft.id, Stage.UNFILTERED)


async def crc32_of(claim: Claim) -> int:
    crc32 = 0
    async for chunk in claim.content():
        assert len(chunk) <= CHUNK
        crc32 = zlib.crc32(chunk, crc32)
    return crc32


@pytest.mark.parametrize("pieces", [1, SIZE // len(PIECE)])
async def test_large_message_takes_little_memory(database: PostgresOpener, pieces: int) -> None:
    """``pieces``: what a filter leaves of it, and adds."""
    async with database() as store:
        tracemalloc.start()
        try:
            async with await put_large(store) as claim:
                copy = await claim.work_copy("new")
                with copy.content.open("r+b") as content:
                    content.truncate(pieces * len(PIECE))
                    content.seek(0, 2)
                    content.write(b"footer\r\n")
                await claim.settle(Pass())
            async with await claimed(store, claim.id) as claim:
                assert claim.size == pieces * len(PIECE) + 8
                assert await crc32_of(claim) == claim.history.crc32
                await claim.settle(Done())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MOST
    assert database.run("select count(*) from emailrelay.body") == [(0,)]
    assert database.run("select count(*) from emailrelay.draft") == [(0,)]
