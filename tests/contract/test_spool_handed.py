"""Messages that a receiver hands to a forwarder, since their clients wait: no files are needed."""

import asyncio
import shutil
import socket
import stat

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.handing import (
    CONTENT,
    WIDE,
    answered,
    committed,
    files,
    handed_over,
    link,
    linked,
    socket_of,
)
from tests.contract.mail import (
    ANN,
    BOB,
    CAT,
    ENVELOPE,
    LATER,
    NEVER,
    OK,
    PATIENCE,
    Clock,
    attempt,
    claimed,
    content_of,
    next_of,
    stages,
)

from emailrelay.ack import Ack
from emailrelay.envelope import Address
from emailrelay.events.store import PossibleDuplicate
from emailrelay.history_query import HistoryQuery
from emailrelay.message_end import MessageEnd
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail
from emailrelay.stage import Stage
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.feed import handed
from emailrelay.store.spool.message.handed_claim import HandedClaim
from emailrelay.store.spool.wake import handing, stream_sockets
from emailrelay.store.spool.wake.package import LARGEST_CONTENT


async def test_delivery_makes_no_file(spool: SpoolOpener) -> None:
    async with spool() as store:
        await store.history().keep(WIDE)
        async with spool() as other, linked(store, other) as feed:
            draft, claim = await handed_over(store, feed)
            async with draft, claim:
                assert (claim.id, claim.envelope, claim.ack) == (draft.id, ENVELOPE, Ack.DELIVERED)
                assert (claim.size, claim.history.session) == (len(CONTENT), "session-1")
                assert await content_of(claim) == CONTENT
                assert await claim.before_dot("mx.test:25")
                assert files(spool) == []
                assert await claim.settle(Done(attempt(1.0, ann=OK, bob=OK, cat=OK)), answer=OK)
                assert await answered(draft) == OK
            assert files(spool) == []
        (past,) = [each async for each in store.history().find(HistoryQuery(id=draft.id))]
        assert past.end is MessageEnd.DELIVERED


@pytest.mark.parametrize("reply", [LATER, NEVER])
async def test_refusal_reaches_the_client_and_nothing_is_kept(
    spool: SpoolOpener, reply: Reply
) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        async with draft:
            await claim.settle(Fail(reply), answer=reply)
            assert await answered(draft) == reply
        assert files(spool) == []


async def test_rest_of_a_message_answered_250_is_in_files(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other:
        async with linked(store, other) as feed:
            draft, claim = await handed_over(store, feed)
            async with draft:
                assert await claim.before_dot("mx.test:25")
                partly = attempt(1.0, next_attempt=1.0, ann=OK, bob=LATER)
                assert await claim.settle(Defer(partly), answer=OK)
                assert await answered(draft) == OK
        async with await claimed(store, draft.id) as again:
            assert again.ack is Ack.STORED
            assert await content_of(again) == CONTENT
            assert again.history.pending(again.envelope) == (BOB, CAT)
            assert ANN not in again.history.pending(again.envelope)


async def test_filters_of_the_forwarder_get_files(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        async with draft, claim:
            copy = await claim.work_copy("busy")
            assert copy.content.read_bytes() == CONTENT
            assert await other.claim(Stage.READY, draft.id) is None
            assert await claim.before_dot("mx.test:25")
            assert await claim.settle(Done(), answer=OK)
            assert await answered(draft) == OK
        assert files(spool) == []


async def test_message_that_is_given_back_becomes_files(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        async with draft:
            waiting = asyncio.create_task(answered(draft))
            await claim.release()
            async with await next_of(feed) as again:
                assert again.id == draft.id
                assert not isinstance(again, HandedClaim)
                assert again.ack is Ack.DELIVERED
                assert await again.settle(Done(), answer=OK)
            assert await waiting == OK


async def test_forwarder_that_ends_gives_back_what_it_has_not_claimed(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other:
        async with linked(store, other) as feed:
            first = await committed(store)
            waiting = asyncio.create_task(answered(first))
            del feed
        async with first, other.feed(Stage.READY) as feed:
            claim = await next_of(feed)
            assert claim.id == first.id
            assert await claim.settle(Done(), answer=OK)
            assert await waiting == OK


async def test_end_of_the_feed_leaves_a_claimed_message_to_its_claim(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other:
        async with linked(store, other) as feed:
            draft, claim = await handed_over(store, feed)
        async with draft:
            assert await claim.before_dot("mx.test:25")
            assert files(spool) == []
            assert await claim.settle(Done(), answer=OK)
            assert await answered(draft) == OK


async def test_client_that_has_gone_makes_the_message_unwanted(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        assert await draft.answer(0) is None
        assert not await claim.before_dot("mx.test:25")
        await claim.settle(Done(end=MessageEnd.WITHDRAWN))
        assert list((spool.directory / ".waiting").iterdir()) == []
        assert files(spool) == []


async def test_message_whose_client_has_gone_stays_unwanted_after_sweeps(
    spool: SpoolOpener,
) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        assert await draft.answer(0) is None
        async with spool(Clock(4e9)):  # it sweeps long after, or the clock was set forward
            assert not await claim.before_dot("mx.test:25")
        await claim.settle(Done(end=MessageEnd.WITHDRAWN))
        assert list((spool.directory / ".waiting").iterdir()) == []


async def test_client_that_goes_after_the_dot_is_named(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        assert await claim.before_dot("mx.test:25")
        assert await draft.answer(0) is None
        assert PossibleDuplicate(id=draft.id, peer="mx.test:25") in spool.reports
        assert not await claim.settle(Done(), answer=OK)


async def test_receiver_that_ends_withdraws_its_messages(spool: SpoolOpener) -> None:
    async with spool() as other, spool() as store, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        await draft.discard()
        await store.__aexit__(None, None, None)
        assert not await claim.before_dot("mx.test:25")
        await claim.settle(Done(end=MessageEnd.WITHDRAWN))
        await store.__aenter__()


async def test_large_message_goes_by_files(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft = await committed(store, CONTENT + LARGEST_CONTENT * b"x")
        claim = await next_of(feed)
        assert not isinstance(claim, HandedClaim)
        assert claim.size > LARGEST_CONTENT
        assert await claim.settle(Done(), answer=OK)
        assert await answered(draft) == OK


async def test_message_with_very_many_recipients_goes_by_files(spool: SpoolOpener) -> None:
    crowd = tuple(Address(f"someone-{number}@{'x' * 50}.test") for number in range(1000))
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft = store.draft_for_delivery(ENVELOPE._replace(to_remote=crowd))
        draft.write(CONTENT)
        await draft.commit(Stage.READY, Ack.DELIVERED)
        claim = await next_of(feed)
        assert not isinstance(claim, HandedClaim)
        await claim.settle(Fail(NEVER), answer=NEVER)
        assert await answered(draft) == NEVER


async def test_messages_of_a_forwarder_that_dies_become_files(spool: SpoolOpener) -> None:
    taken = asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken.put((reader, writer))

    async with spool() as store:
        wake = Directory(spool.place).below(".wake")
        with stream_sockets.listening(wake, f"{handing.TAKES}1.2") as own:
            server = await asyncio.start_unix_server(take, sock=own.opened)
            await link(store)
            reader, writer = await taken.get()
            server.close()  # the receiver does not come back
        draft = await committed(store)
        assert str(draft.id).encode() in await reader.readline()
        assert files(spool) == []
        writer.transport.abort()
        waiting = asyncio.create_task(answered(draft))
        async with store.feed(Stage.READY) as feed, await next_of(feed) as claim:
            assert (claim.id, claim.ack) == (draft.id, Ack.DELIVERED)
            assert await content_of(claim) == CONTENT
            assert await claim.settle(Done(), answer=OK)
        assert await waiting == OK


async def test_forwarder_takes_a_bounded_number(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handed, "_MOST_PENDING", 1)
    async with spool() as store, spool() as other, linked(store, other) as feed:
        drafts = [await committed(store) for _ in range(3)]
        for _ in drafts:
            claim = await next_of(feed)
            await claim.settle(Fail(NEVER), answer=NEVER)
        for draft in drafts:
            assert await answered(draft) == NEVER
            await draft.discard()
        assert await stages(store) == {}


async def test_receiver_hands_over_a_bounded_number(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing, "_MOST_HANDED", 1)
    async with spool() as store, spool() as other, linked(store, other):
        one, two = await committed(store), await committed(store)
        assert await stages(store) == {two.id: Stage.READY}
        for draft in (one, two):
            await draft.discard()
        assert await stages(store) == {}


async def test_forwarder_that_does_not_read_gets_no_more(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, linked(store, other):
        # No turn of the loop passes: nothing is read meanwhile.
        drafts = [await committed(store, bytes(60_000)) for _ in range(40)]
        assert 0 < len(await stages(store)) < 40
        for draft in drafts:
            await draft.discard()


async def test_forwarder_that_takes_no_more_keeps_only_what_it_works_on(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        before = await committed(store)
        feed.take_no_more()
        later = await committed(store)
        async with draft, before, later, spool() as third, third.feed(Stage.READY) as free:
            found = {(await next_of(free)).id for _ in range(2)}
            assert found == {before.id, later.id}
            assert await claim.settle(Done(), answer=OK)
            assert await answered(draft) == OK


@pytest.mark.parametrize(
    "octets",
    [200 * b"x", b"\n", b"1.2.3 4\n", b"1.2.3 -1 0\n", b"1.2.3 0 9999999\n", b"\xff 1 1\n"],
)
async def test_strange_octets_end_the_connection(spool: SpoolOpener, octets: bytes) -> None:
    async with spool() as other, other.feed(Stage.READY):
        path = socket_of(spool)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(octets)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()


async def test_damaged_message_goes_back(spool: SpoolOpener) -> None:
    async with spool() as other, other.feed(Stage.READY) as feed:
        reader, writer = await asyncio.open_unix_connection(socket_of(spool))
        waiting = asyncio.create_task(feed.claim())
        writer.write(b"1.2.3 4 4\nabcdabcd")
        async with asyncio.timeout(PATIENCE):
            assert await reader.readline() == b"1.2.3\n"
        waiting.cancel()
        writer.close()


async def test_receiver_that_does_not_read_what_goes_back_is_read_no_more(
    spool: SpoolOpener,
) -> None:
    package, most = b"1.2.3 0 0\n", 2_000_000
    octets = 5_000 * package
    async with spool() as other, other.feed(Stage.READY):
        with socket.socket(socket.AF_UNIX) as giver:
            giver.connect(str(socket_of(spool)))
            giver.setblocking(False)  # noqa: FBT003 - the library's own
            sent = refusals = 0
            while refusals < 100 and sent < most:
                try:
                    sent += giver.send(octets[sent % len(package) :])
                    refusals = 0
                except BlockingIOError:
                    refusals += 1
                await asyncio.sleep(0)
            assert sent < most
            reader, writer = await asyncio.open_unix_connection(sock=giver)
            writer.write(package[sent % len(package) :])  # the rest of the last one
            async with asyncio.timeout(PATIENCE):
                for _ in range(sent // len(package)):  # all but the first one, which it keeps
                    assert await reader.readline() == b"1.2.3\n"
            writer.close()


async def test_next_forwarder_removes_the_sockets_of_dead_ones(spool: SpoolOpener) -> None:
    async with spool() as one, spool() as other, one.feed(Stage.READY):
        alive = socket_of(spool)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(alive.with_name(f"{handing.TAKES}1.2")))
        async with other.feed(Stage.READY):
            names = {path.name for path in alive.parent.glob(f"{handing.TAKES}*")}
            assert len(names) == 2
            assert alive.name in names
            assert f"{handing.TAKES}1.2" not in names


async def test_only_the_owner_of_a_sticky_spool_can_hand_over(spool: SpoolOpener) -> None:
    for mode, others in ((0o770, True), (0o3770, False)):
        spool.directory.mkdir(mode=0o770, exist_ok=True)
        spool.directory.chmod(mode)
        shutil.rmtree(spool.directory / ".wake", ignore_errors=True)
        async with spool() as other, other.feed(Stage.READY):
            assert bool(socket_of(spool).stat().st_mode & stat.S_IRWXG) is others
