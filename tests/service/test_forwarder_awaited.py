"""Mail whose client waits for the next server: all recipients or none, and nothing stays."""

import asyncio

import pytest
from tests.fakes.smtp_peer import Close, SmtpPeer, Wait
from tests.service.forwarding import CONTENT, Office

from emailrelay.ack import Ack
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.events.delivery import Deferred, DeliveryRefused, Failed, Withdrawn
from emailrelay.events.store import PossibleDuplicate, StoreTrouble
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Done, Settlement
from emailrelay.stage import Stage
from emailrelay_forwarder.delivery import forwarding
from emailrelay_forwarder.server import idle_sessions


async def heard(
    office: Office, *recipients: str, session: str = ""
) -> tuple[QueueId, Reply | None]:
    """Deliver a message while its client waits; give the client's answer."""
    to = tuple(Address(r) for r in recipients)
    envelope = Envelope(sender=Address("from@us.test"), to_remote=to)
    async with office.store.draft(envelope) as draft:
        draft.write(CONTENT)
        await draft.commit(Stage.READY, Ack.DELIVERED, session)
        waiting = asyncio.create_task(draft.answer(10))
        await asyncio.sleep(0)
        await office.forward(draft.id)
        return draft.id, await waiting


async def left(office: Office, reached: asyncio.Event) -> tuple[QueueId, asyncio.Task[Settlement]]:
    """Deliver a message whose client goes when ``reached`` is set; give the delivery."""
    envelope = Envelope(sender=Address("f@us.test"), to_remote=(Address("a@t"),))
    async with office.store.draft(envelope) as draft:
        draft.write(CONTENT)
        await draft.commit(Stage.READY, Ack.DELIVERED)
        waiting = asyncio.create_task(draft.answer(10))
        await asyncio.sleep(0)
        delivery = asyncio.create_task(office.forward(draft.id))
        await reached.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return draft.id, delivery


async def ask(office: Office, *recipients: str, session: str = "") -> Reply | None:
    """Do the same, and check that the store keeps nothing."""
    message, answer = await heard(office, *recipients, session=session)
    assert await office.store.describe(message) is None
    return answer


async def test_the_servers_verdict_is_the_answer() -> None:
    async with SmtpPeer({"DOT": "250 2.0.0 queued as 17"}) as peer:
        answer = await ask(Office(peer.address), "a@t", "b@t")
        assert len(peer.messages) == 1
    assert answer == Reply(250, "2.0.0 queued as 17")


@pytest.mark.parametrize("refusal", ["550 5.1.1 who?", "451 4.2.0 later", "452 4.5.3 too many"])
async def test_one_refused_recipient_is_the_answer_and_no_other_gets_the_message(
    refusal: str,
) -> None:
    async with SmtpPeer(recipients={b"b@t": refusal}) as peer:
        office = Office(peer.address)
        assert str(await ask(office, "a@t", "b@t", "c@t")) == refusal
        assert peer.messages == []
        assert len(peer.lines("RCPT")) == 2
        (refused,) = office.events(DeliveryRefused)
        assert (refused.reply, refused.code) == (refusal, int(refusal[:3]))
        assert not office.events(Failed)
        assert not office.events(Deferred)
        assert await ask(office, "a@t") is not None
        assert len(peer.messages) == 1


async def test_address_that_cannot_be_sent_is_refused_for_all() -> None:
    async with SmtpPeer() as peer:
        answer = await ask(Office(peer.address), "a@t", "b c@t")
        assert peer.lines("RCPT") == []
    assert answer is not None
    assert answer.code == 553


async def test_local_mailbox_among_the_recipients_is_refused_for_all() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        envelope = Envelope(
            sender=Address("f@us.test"), to_local=(Address("alice"),), to_remote=(Address("a@t"),)
        )
        async with office.store.draft(envelope) as draft:
            draft.write(CONTENT)
            await draft.commit(Stage.READY, Ack.DELIVERED)
            waiting = asyncio.create_task(draft.answer(10))
            await asyncio.sleep(0)
            await office.forward(draft.id)
            answer = await waiting
        assert peer.connections == 0
    assert answer is not None
    assert answer.permanent


async def test_lost_server_is_a_temporary_answer() -> None:
    async with SmtpPeer({"MAIL": Close()}) as peer:
        answer = await ask(Office(peer.address), "a@t")
    assert answer is not None
    assert answer.code == 451


async def test_message_of_a_client_who_has_gone_is_not_sent() -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    async with SmtpPeer({"DATA": Wait(reached, go, b"354 go\r\n")}) as peer:
        office = Office(peer.address)
        message, delivery = await left(office, reached)
        go.set()
        await delivery
        assert peer.messages == []
        await office.send()
        assert len(peer.messages) == 1
    assert [event.id for event in office.events(Withdrawn)] == [message]


async def test_delivery_that_a_client_did_not_wait_for_is_named_as_a_possible_duplicate() -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    async with SmtpPeer({"DOT": Wait(reached, go)}) as peer:
        office = Office(peer.address)
        message, delivery = await left(office, reached)
        go.set()
        assert isinstance(await delivery, Done)
        assert len(peer.messages) == 1
    # Both sides name it: the receiver that gives up, and the forwarder whose answer comes too late.
    assert {event.id for event in office.events(PossibleDuplicate)} == {message}


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


async def test_client_is_told_yes_for_some_and_the_refused_are_failed_for_the_sender() -> None:
    async with SmtpPeer({"DOT": "250 2.0.0 as 17"}, {b"b@t": "550 5.1.1 who?"}) as peer:
        office = Office(peer.address, partly=True)
        message, answer = await heard(office, "a@t", "b@t", "c@t")
        assert answer == Reply(250, "2.0.0 as 17")
        assert [m.recipients for m in peer.messages] == [[b"a@t", b"c@t"]]
        found = await office.store.describe(message)
        assert found is not None
        stage, _, history = found
        assert stage is Stage.FAILED
        assert history.refused == {"b@t": Reply(550, "5.1.1 who?")}


async def test_client_is_told_yes_for_some_and_the_deferred_get_it_later() -> None:
    async with SmtpPeer({"RCPT": ["250 ok", "451 4.2.0 later"]}) as peer:
        office = Office(peer.address, partly=True)
        message, answer = await heard(office, "a@t", "b@t")
        assert answer is not None
        assert answer.accepted
        found = await office.store.describe(message)
        assert found is not None
        assert found[0] is Stage.READY
        assert isinstance(await office.forward(message), Done)
        assert [m.recipients for m in peer.messages] == [[b"a@t"], [b"b@t"]]


async def test_client_is_told_no_when_no_recipient_is_accepted() -> None:
    async with SmtpPeer({"RCPT": "550 5.1.1 who?"}) as peer:
        office = Office(peer.address, partly=True)
        assert await ask(office, "a@t", "b@t") == Reply(550, "5.1.1 who?")
        assert len(peer.lines("RCPT")) == 2


async def test_messages_of_one_client_session_use_one_connection() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        for _ in range(3):
            await ask(office, "a@t", session="session-1")
        assert [m.connection for m in peer.messages] == [1, 1, 1]
        await office.forwarding.close()


async def test_two_client_sessions_use_two_connections_in_turn() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        for _ in range(3):
            await ask(office, "a@t", session="session-1")
            await ask(office, "a@t", session="session-2")
        assert [m.connection for m in peer.messages] == [1, 2, 1, 2, 1, 2]
        await office.forwarding.close()


async def test_connection_of_another_client_session_is_used_before_the_limit_is_passed() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address, most=2)
        for number in range(10):
            await ask(office, "a@t", session=f"session-{number}")
        await office.send()
        assert (peer.connections, peer.most_open) == (2, 2)
        await office.forwarding.close()


async def test_connection_of_a_client_session_that_has_ended_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idle_sessions, "IDLE", 0.05)
    async with SmtpPeer() as peer:
        await ask(Office(peer.address), "a@t", session="session-1")
        await peer.until(closed=True)
        assert peer.lines("QUIT") == ["QUIT"]


async def test_client_is_told_the_servers_own_refusal_when_refusals_are_final() -> None:
    async with SmtpPeer({"RCPT": "451 4.2.0 later"}) as peer:
        office = Office(peer.address, no_retry=True)
        assert await ask(office, "a@t") == Reply(451, "4.2.0 later")
