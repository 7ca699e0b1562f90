"""Clients that get their answer only after the filters or the next server."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.service.receiving import HANG, Peer, Running, receiving

from emailrelay.ack import Ack
from emailrelay.config import ReceiverSettings
from emailrelay.events.receiving import Received, Rejected
from emailrelay.reply import Reply
from emailrelay.settlement import Done, Fail, Pass
from emailrelay.stage import Stage
from emailrelay.store.claim import Claim

FILTERED = ReceiverSettings(domain="relay.test", filter=["exit:0"], ack=Ack.FILTERED)
PROXY = ReceiverSettings(domain="relay.test", ack=Ack.DELIVERED)


async def _sent(peer: Peer) -> None:
    await peer.to_data()
    peer.send(b"Subject: x\r\n\r\ntext\r\n.\r\n")


async def _claim(running: Running, stage: Stage) -> Claim:
    async with asyncio.timeout(HANG), running.store.feed(stage) as feed:
        return await feed.claim()


@pytest.mark.parametrize("reply", [Reply(554, "5.7.1 no"), Reply(452, "4.3.0 later")])
async def test_a_filters_rejection_is_the_reply_and_leaves_nothing(reply: Reply) -> None:
    async with receiving(FILTERED) as running, running.client() as peer:
        await _sent(peer)
        async with await _claim(running, Stage.UNFILTERED) as claim:
            await claim.settle(Fail(reply), answer=reply)
        assert await peer.reply() == str(reply)
        assert running.mail() == []
        assert not [event for event in running.events if isinstance(event, Received)]
        assert isinstance(await running.until(Rejected), Rejected)
        assert (await peer.ask("NOOP")).startswith("250")


async def test_the_filters_acceptance_is_the_250() -> None:
    async with receiving(FILTERED) as running, running.client() as peer:
        await _sent(peer)
        async with await _claim(running, Stage.UNFILTERED) as claim:
            await claim.settle(Pass(), answer=Reply(250, "2.0.0 accepted"))
        assert await peer.reply() == f"250 2.0.0 Ok: queued as {claim.id}"
        assert [stage for stage, _, _ in running.mail()] == [Stage.READY]


async def test_mail_that_no_filterd_answers_for_is_accepted_and_filtered_later() -> None:
    async with receiving(FILTERED) as running, running.client() as peer:
        running.context.answer_within = 0.05
        await _sent(peer)
        assert (await peer.reply()).startswith("250 2.0.0 Ok: queued as ")
        assert [stage for stage, _, _ in running.mail()] == [Stage.UNFILTERED]
        async with await _claim(running, Stage.UNFILTERED) as claim:
            assert claim.ack is Ack.STORED


@pytest.mark.parametrize("reply", [Reply(550, "5.1.1 nobody here"), Reply(451, "4.2.0 busy")])
async def test_the_next_servers_refusal_is_the_reply_and_leaves_nothing(reply: Reply) -> None:
    async with receiving(PROXY) as running, running.client() as peer:
        await _sent(peer)
        async with await _claim(running, Stage.READY) as claim:
            assert claim.ack is Ack.DELIVERED
            await claim.settle(Fail(reply), answer=reply)
        assert await peer.reply() == str(reply)
        assert running.mail() == []


async def test_the_next_servers_own_words_are_the_250() -> None:
    async with receiving(PROXY) as running, running.client() as peer:
        await _sent(peer)
        async with await _claim(running, Stage.READY) as claim:
            await claim.settle(Done(), answer=Reply(250, "2.0.0 taken as 77"))
        assert await peer.reply() == "250 2.0.0 taken as 77"
        assert running.mail() == []


async def test_a_silent_next_server_is_451_and_leaves_nothing() -> None:
    async with receiving(PROXY) as running, running.client() as peer:
        running.context.answer_within = 0.05
        await _sent(peer)
        assert (await peer.reply()).startswith("451 4.4.0 ")
        assert running.mail() == []


@pytest.mark.parametrize("way", ["reset", "close"])
async def test_a_client_that_leaves_takes_its_message_back(way: str) -> None:
    async with receiving(PROXY) as running, running.client() as peer:
        await _sent(peer)
        async with await _claim(running, Stage.READY) as claim:
            assert await claim.before_dot("mx.test:25")
            if way == "reset":
                peer.reset()
            else:
                peer.writer.close()
            await running.empty()
            assert not await claim.before_dot("mx.test:25")
            await claim.settle(Done())
        assert running.mail() == []


async def test_messages_of_a_session_carry_its_name_and_no_others() -> None:
    names: list[str] = []
    async with receiving(PROXY) as running:
        for _ in range(2):
            async with running.client() as peer:
                for turn in range(2):
                    if turn == 0:
                        await _sent(peer)
                    else:
                        await peer.ask("MAIL FROM:<s@x>")
                        await peer.ask("RCPT TO:<r@y>")
                        await peer.ask("DATA")
                        peer.send(b"text\r\n.\r\n")
                    async with await _claim(running, Stage.READY) as claim:
                        names.append(claim.history.session)
                        await claim.settle(Done(), answer=Reply(250, "ok"))
                    await peer.reply()
    assert names[0] == names[1] != names[2] == names[3] != ""


@pytest.mark.parametrize(("settings", "code"), [(FILTERED, "250 "), (PROXY, "451 ")])
async def test_the_end_of_the_service_does_not_wait_for_answers(
    settings: ReceiverSettings, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emailrelay_receiver.receiver._FINISH", 0.1)
    async with AsyncExitStack() as clients:
        async with receiving(settings) as running:
            peer = await clients.enter_async_context(running.client())
            await _sent(peer)
            await (await _claim(running, running.context.stage)).release()
        assert (await peer.reply()).startswith(code)
