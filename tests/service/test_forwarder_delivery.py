"""Deliveries to a server without faults, and the dialogue with it."""

import asyncio
from pathlib import Path

import pytest
from tests.fakes.smtp_peer import Say, SmtpPeer
from tests.service.forwarding import CONTENT, Office

from emailrelay.envelope import Address
from emailrelay.events.delivery import Delivered
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail, Settlement
from emailrelay.stage import Stage
from emailrelay.store.claim import Claim
from emailrelay_forwarder.delivery.delivery import Progress
from emailrelay_forwarder.delivery.forwarding import Forwarding


async def test_message_arrives_as_it_was_stored() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        message = await office.put("a@there.test", "b@there.test")
        assert isinstance(await office.forward(message), Done)
        assert await office.history(message) is None
    [arrived] = peer.messages
    assert arrived.sender == b"from@us.test"
    assert arrived.recipients == [b"a@there.test", b"b@there.test"]
    assert arrived.content == CONTENT
    [told] = office.events(Delivered)
    assert (told.recipients, told.reply) == (2, "250 2.0.0 taken")


async def test_connection_is_kept_for_the_next_message() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        for _ in range(5):
            assert isinstance(await office.send(), Done)
        assert peer.connections == 1
        await office.forwarding.close()
        await peer.until(closed=True)
    assert peer.lines("QUIT") == ["QUIT"]
    assert peer.lines("RSET") == []


async def test_unix_socket_is_a_destination(sockets: Path) -> None:
    async with SmtpPeer(path=sockets / "smtp") as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Done)


async def test_envelope_may_name_another_server() -> None:
    async with SmtpPeer() as usual, SmtpPeer() as other:
        office = Office(usual.address)
        await office.forward(await office.put(forward_to_address=other.address))
        await office.send()
    assert (len(usual.messages), len(other.messages)) == (1, 1)


async def test_destination_that_cannot_be_understood_defers() -> None:
    office = Office("127.0.0.1:1")
    settlement = await office.forward(await office.put(forward_to_address="nowhere"))
    assert isinstance(settlement, Defer)
    assert "nowhere" in str(settlement.attempt.trouble)


async def test_null_sender_goes_as_empty_path() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        await office.forward(await office.put(sender=""))
    assert peer.messages[0].sender == b""


@pytest.mark.parametrize(
    "address",
    [
        "c%evil@d",
        "d!c@e",
        "@x,@y:c@d",
        '"a b"@d',
        '"a@b"@d',
        r'"a\"b"@d',
        '"evil@y> x"@d',
        '"a"."b"@d',
        "a@[127.0.0.1]",
        "a/b@d",
        "c@d,e@f",
    ],
)
async def test_address_goes_out_octet_for_octet(address: str) -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(address), Done)
    assert peer.messages[0].recipients == [address.encode()]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "x\r\nRCPT TO:<evil@x>@d",
        "a\0b@d",
        '"a\rb"@d',
        "a b@d",
        "a>@d",
        "<a@d>",
        'a"b@d',
        "ä@d",
        "a\u2028b@d",
        "\ud800@d",
        "a" * 1000 + "@d",
    ],
)
async def test_poison_address_fails_alone(address: str) -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        message = await office.put("good@there.test", address, "better@there.test")
        settlement = await office.forward(message)
    assert isinstance(settlement, Fail)
    assert settlement.reason.code == 553
    assert settlement.reason.text.startswith("5.1.3")
    assert peer.messages[0].recipients == [b"good@there.test", b"better@there.test"]
    assert len(peer.lines("RCPT")) == 2


async def test_sender_that_cannot_be_sent_fails_the_message() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        settlement = await office.forward(await office.put(sender="a b"))
    assert isinstance(settlement, Fail)
    assert peer.lines("MAIL") == []


@pytest.mark.parametrize("content", [b"", b".", b"no newline", b"a\n.\nb\n", b"\r.\r\r\n.\r\r\n"])
async def test_content_never_ends_before_its_end(content: bytes) -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        await office.forward(await office.put(content=content))
        await office.send()
    assert len(peer.messages) == 2
    text = peer.messages[0].content
    assert text.replace(b"\r\n", b"").count(b"\r") == 0
    assert text.count(b"\n") == text.count(b"\r\n")
    assert not text or text.endswith(b"\r\n")


async def test_any_2yz_after_the_dot_is_acceptance() -> None:
    async with SmtpPeer({"DOT": "251 2.0.0 fine"}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Done)


async def test_servers_own_words_reach_the_reason() -> None:
    async with SmtpPeer({"DOT": Say(b"554-5.7.1 you\r\n554 5.7.1 look like\tspam\r\n")}) as peer:
        office = Office(peer.address)
        message = await office.put()
        await office.forward(message)
    found = await office.store.describe(message)
    assert found is not None
    assert found[0] is Stage.FAILED
    assert found[2].failed is not None
    reason = str(found[2].failed.reason)
    assert reason == "554 5.7.1 you 5.7.1 look like spam <to@there.test>"
    assert found[2].refused.keys() == {Address("to@there.test")}


class SlowlyRecorded(Forwarding):
    """Makes attempts whose settlement takes until ``recorded``."""

    recording: asyncio.Event
    recorded: asyncio.Event

    async def _record(
        self, claim: Claim, settlement: Settlement, progress: Progress, answer: Reply | None = None
    ) -> bool:
        self.recording.set()
        await self.recorded.wait()
        return await super()._record(claim, settlement, progress, answer)


async def test_next_final_dot_waits_for_the_record_of_the_last_message() -> None:
    """Otherwise a power cut could leave more than one message in doubt on a connection."""
    async with SmtpPeer() as peer, asyncio.timeout(60):
        office = Office(peer.address, most=1)
        office.forwarding = forwarding = SlowlyRecorded(office.rules(), lambda _recall: None)
        forwarding.recording, forwarding.recorded = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(office.send("first@there.test"))
        await forwarding.recording.wait()
        second = asyncio.create_task(office.send("second@there.test"))
        async with SmtpPeer() as other:
            # In the time of a whole delivery the second message has come to its final dot.
            assert isinstance(await Office(other.address).send(), Done)
        assert peer.contents == 1
        forwarding.recorded.set()
        settled = [await first, await second]
        assert [type(each) for each in settled] == [Done, Done]
        await office.forwarding.close()
    assert peer.connections == 1


async def test_message_for_local_mailboxes_only_fails_and_no_server_is_asked() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        message = await office.put(local=["alice", "bob"])
        settlement = await office.forward(message)
        history = await office.history(message)
        assert peer.connections == 0
    assert isinstance(settlement, Fail)
    assert "no remote recipients" in settlement.reason.text
    assert history is not None
    assert list(history.refused) == ["alice", "bob"]


async def test_remote_recipients_get_the_message_and_local_ones_are_kept_as_refused() -> None:
    later, then = "451 4.3.0 later", "250 ok"
    async with SmtpPeer({"RCPT": ["250 ok", later, then]}) as peer:
        office = Office(peer.address)
        message = await office.put("a@t", "b@t", local=["alice"])
        assert isinstance(await office.forward(message), Defer)
        settlement = await office.forward(message)
        history = await office.history(message)
    assert [m.recipients for m in peer.messages] == [[b"a@t"], [b"b@t"]]
    assert not any("alice" in line for line in peer.lines("RCPT"))
    assert isinstance(settlement, Fail)
    assert "local" in settlement.reason.text
    assert "<alice>" in settlement.reason.text
    assert history is not None
    assert list(history.delivered) == ["a@t", "b@t"]
    assert list(history.refused) == ["alice"]
