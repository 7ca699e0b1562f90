"""Mail whose client waits for the next server's answer: all recipients or none, and nothing kept."""

import asyncio

import pytest
from tests.fakes.smtp_peer import Close, SmtpPeer, Wait
from tests.service.forwarding import CONTENT, Office

from emailrelay.ack import Ack
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.events import StoreTrouble, Withdrawn
from emailrelay.reply import Reply
from emailrelay.settlement import Settlement
from emailrelay.stage import Stage
from emailrelay_forwarder import forwarding


async def ask(office: Office, *recipients: str) -> Reply | None:
    """Deliver a message while its client waits; give what the client hears."""
    to = tuple(Address(r) for r in recipients)
    envelope = Envelope(sender=Address("from@us.test"), to_remote=to)
    async with office.store.draft(envelope) as draft:
        await draft.write(CONTENT)
        await draft.commit(Stage.READY, Ack.DELIVERED)
        waiting = asyncio.create_task(draft.answer(10))
        await asyncio.sleep(0)
        await office.forward(draft.id)
        answer = await waiting
        assert await office.store.describe(draft.id) is None
        return answer


async def test_the_servers_verdict_is_the_answer() -> None:
    async with SmtpPeer({"DOT": "250 2.0.0 queued as 17"}) as peer:
        answer = await ask(Office(peer.address), "a@t", "b@t")
        assert len(peer.messages) == 1
    assert answer == Reply(250, "2.0.0 queued as 17")


@pytest.mark.parametrize("refusal", ["550 5.1.1 who?", "451 4.2.0 later", "452 4.5.3 too many"])
async def test_one_refused_recipient_is_the_answer_and_nobody_gets_the_message(
    refusal: str,
) -> None:
    async with SmtpPeer(recipients={b"b@t": refusal}) as peer:
        office = Office(peer.address)
        assert str(await ask(office, "a@t", "b@t", "c@t")) == refusal
        assert peer.messages == []
        assert len(peer.lines("RCPT")) == 2
        assert await ask(office, "a@t") is not None
        assert len(peer.messages) == 1


async def test_address_that_cannot_be_sent_is_refused_for_all() -> None:
    async with SmtpPeer() as peer:
        answer = await ask(Office(peer.address), "a@t", "b c@t")
        assert peer.lines("RCPT") == []
    assert answer is not None
    assert answer.code == 553


async def test_lost_server_is_a_temporary_answer() -> None:
    async with SmtpPeer({"MAIL": Close()}) as peer:
        answer = await ask(Office(peer.address), "a@t")
    assert answer is not None
    assert answer.code == 451


async def test_message_of_a_client_who_has_gone_is_not_sent() -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    async with SmtpPeer({"DATA": Wait(reached, go, b"354 go\r\n")}) as peer:
        office = Office(peer.address)
        envelope = Envelope(sender=Address("f@us.test"), to_remote=(Address("a@t"),))
        async with office.store.draft(envelope) as draft:
            await draft.write(CONTENT)
            await draft.commit(Stage.READY, Ack.DELIVERED)
            waiting = asyncio.create_task(draft.answer(10))
            await asyncio.sleep(0)
            delivery = asyncio.create_task(office.forward(draft.id))
            await reached.wait()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        go.set()
        await delivery
        assert peer.messages == []
        await office.send()
        assert len(peer.messages) == 1
    assert [event.id for event in office.events(Withdrawn)] == [draft.id]


async def test_outcome_the_store_cannot_record_stops_no_other_mail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarding, "_STORE_PAUSE", 0)
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        message = await office.put()
        async with await office.claim(message) as claim:

            async def full(settlement: Settlement, answer: Reply | None = None) -> None:
                raise StoreError("settle", f"disk full: {settlement} {answer}")

            monkeypatch.setattr(claim, "settle", full)
            await office.forwarding.forward(claim, office.progress())
        assert len(office.events(StoreTrouble)) == 1
        await office.send()
        assert len(peer.messages) == 2
