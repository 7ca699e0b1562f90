"""A message enters a store whole, or not at all."""

import asyncio
import os

import pytest
from tests.contract.mail import (
    ANN,
    ENVELOPE,
    Clock,
    Opener,
    claimed,
    content_of,
    listed,
    put,
    stages,
    write,
)

from emailrelay.envelope import Address, Body, Envelope
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import to_uuid
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK

EVERYTHING = Envelope(
    sender=Address('"odd \\" sender"@x.test'),
    to_local=(Address("postmaster"),),
    to_remote=(ANN, Address("jürgen@bücher.test"), ANN),
    body=Body.EIGHT_BIT,
    authentication="user=with+signs and blanks",
    client="2001:db8::1",
    client_certificate="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    mail_from_auth_in="a+3Db",
    mail_from_auth_out="<>",
    forward_to="example.test",
    forward_to_address="127.0.0.1:2525",
    account_selector="work",
    utf8=True,
)
CONTENTS = {
    "one line": b"Subject: x\r\n\r\nx\r\n",
    "no last line end": b"Subject: x\r\n\r\nx",
    "every octet": bytes(range(256)) * 3,
    "dots": b".\r\n..\r\n...\r\n",
    "more than a chunk": os.urandom(2 * CHUNK + 1),
}


async def test_draft_is_invisible_until_it_is_committed(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        async with store.draft(ENVELOPE) as draft:
            draft.write(b"x" * (CHUNK + 1))
            for watcher in (store, other):
                assert await listed(watcher) == {}
                assert await watcher.describe(draft.id) is None
                assert await watcher.claim(Stage.READY, draft.id) is None
            await draft.commit(Stage.READY)
        assert await stages(other) == {draft.id: Stage.READY}


async def test_draft_that_is_left_leaves_nothing(opener: Opener) -> None:
    async with opener() as store:
        async with store.draft(ENVELOPE) as draft:
            draft.write(b"x")
        assert await listed(store) == {}
    async with opener() as later:
        assert await listed(later) == {}


async def test_error_in_the_middle_of_a_draft_leaves_nothing(opener: Opener) -> None:
    async with opener() as store:

        async def receive() -> None:
            async with store.draft(ENVELOPE) as draft:
                draft.write(b"x")
                raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await receive()
        assert await listed(store) == {}


async def test_discard_after_commit_changes_nothing(opener: Opener) -> None:
    async with opener() as store:
        async with store.draft(ENVELOPE) as draft:
            draft.write(b"x")
            await draft.commit(Stage.READY)
            await draft.discard()
        assert await stages(store) == {draft.id: Stage.READY}


@pytest.mark.parametrize("steps", range(8))
async def test_cancelled_commit_is_whole_or_nothing(opener: Opener, steps: int) -> None:
    async with opener() as store:

        async def commit() -> None:
            async with store.draft(ENVELOPE) as draft:
                draft.write(b"whole")
                await draft.commit(Stage.READY)

        task = asyncio.create_task(commit())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with opener() as later:
        for message in await listed(later):
            async with await claimed(later, message) as claim:
                assert await content_of(claim) == b"whole"
                assert claim.envelope == ENVELOPE


@pytest.mark.parametrize("stage", [Stage.READY, Stage.UNFILTERED])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
async def test_committed_message_is_complete_for_another_opener(
    opener: Opener, content: bytes, stage: Stage
) -> None:
    async with opener() as store:
        message = await put(store, content, stage, EVERYTHING)
    async with opener() as other, await claimed(other, message, stage) as claim:
        assert await content_of(claim) == content
        assert (claim.id, claim.stage, claim.size) == (message, stage, len(content))
        assert claim.envelope == EVERYTHING
        assert claim.history.attempts == 0


async def test_content_may_come_in_any_kind_of_octets(opener: Opener) -> None:
    async with opener() as store:
        async with store.draft(ENVELOPE) as draft:
            buffer = bytearray(b"two ")
            await write(draft, b"one ")
            await write(draft, buffer)
            buffer[:] = b"----"  # a receiver reads the next chunk into the same buffer
            await write(draft, memoryview(b"three"))
            await draft.commit(Stage.READY)
        async with await claimed(store, draft.id) as claim:
            assert await content_of(claim) == b"one two three"


async def test_content_of_many_pieces_is_whole(opener: Opener) -> None:
    pieces = [os.urandom(CHUNK // 4 + number) for number in range(20)]
    async with opener() as store:
        async with store.draft(ENVELOPE) as draft:
            await write(draft, *pieces)
            await draft.drain()  # once more does no harm
            await draft.commit(Stage.READY)
        async with await claimed(store, draft.id) as claim:
            assert await content_of(claim) == b"".join(pieces)


async def test_content_comes_in_chunks_and_from_its_beginning_each_time(opener: Opener) -> None:
    content = os.urandom(2 * CHUNK + 5)
    async with opener() as store, await claimed(store, await put(store, content)) as claim:
        for _ in range(2):
            chunks = [chunk async for chunk in claim.content()]
            assert max(map(len, chunks)) <= CHUNK
            assert b"".join(chunks) == content


async def test_history_begins_with_the_acceptance(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store, await claimed(store, await put(store, b"abc")) as claim:
        assert claim.history.accepted_at == clock.now
        assert claim.history.stage is Stage.READY
        assert claim.history.length == 3


async def test_ids_are_unique_and_sort_by_arrival(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store, opener(clock) as other:
        messages: list[QueueId] = []
        for turn in range(12):
            messages.append(await put((store, other)[turn % 2]))
            clock.now += 0.002
        clock.now -= 3600  # a clock set back changes nothing within a process
        last = await put(store)
        numbers = [to_uuid(message) for message in messages]
        assert sorted(set(numbers)) == numbers
        assert to_uuid(last) > numbers[-2]
        assert set(await listed(store)) == {*messages, last}


async def test_closing_finishes_the_commits_under_way(opener: Opener) -> None:
    async with opener() as other:
        async with opener() as store:
            drafts = [store.draft(ENVELOPE) for _ in range(20)]
            for draft in drafts:
                draft.write(b"x" * 1000)
            commits = [asyncio.create_task(draft.commit(Stage.READY)) for draft in drafts]
            await asyncio.sleep(0)
        assert await asyncio.gather(*commits) == [None] * 20
        assert set(await listed(other)) == {draft.id for draft in drafts}


async def test_many_at_once_are_all_kept_apart(opener: Opener) -> None:
    async with opener() as store:
        contents = [b"%d" % n * n for n in range(1, 60)]
        messages = await asyncio.gather(*(put(store, content) for content in contents))
        for message, content in zip(messages, contents, strict=True):
            async with await claimed(store, message) as claim:
                assert await content_of(claim) == content
