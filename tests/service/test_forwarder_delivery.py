"""Deliveries to a server without faults, and the dialogue with it."""

import asyncio
from pathlib import Path

import pytest
from tests.fakes.smtp_peer import Say, SmtpPeer
from tests.service.forwarding import CONTENT, Office

from emailrelay.envelope import Address, Body
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


async def test_message_larger_than_advertised_is_not_offered() -> None:
    ehlo = Say(b"250-peer.test\r\n250 SIZE 1000\r\n")
    async with SmtpPeer({"EHLO": ehlo}) as peer:
        office = Office(peer.address)
        settlement = await office.forward(await office.put(content=b"x" * 5000))
        assert isinstance(settlement, Fail)
        assert settlement.reason.code == 552
        assert "5.3.4" in settlement.reason.text
        assert isinstance(await office.send(), Done)
    assert len(peer.lines("MAIL")) == 1


async def test_size_zero_is_no_limit() -> None:
    async with SmtpPeer({"EHLO": Say(b"250-peer.test\r\n250 SIZE 0\r\n")}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Done)


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        (Body.UNKNOWN, f"SIZE={len(CONTENT)} BODY=8BITMIME"),
        (Body.EIGHT_BIT, f"SIZE={len(CONTENT)} BODY=8BITMIME"),
        (Body.SEVEN_BIT, f"SIZE={len(CONTENT)}"),
    ],
)
async def test_body_is_declared(body: Body, parameters: str) -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        await office.forward(await office.put(body=body))
    assert peer.messages[0].parameters == parameters.encode()


async def test_server_without_extensions_gets_no_parameters() -> None:
    async with SmtpPeer({"EHLO": "502 what?"}) as peer:
        office = Office(peer.address)
        await office.forward(await office.put(body=Body.EIGHT_BIT, content=b"\xe4\r\n"))
    assert peer.messages[0].parameters == b""
    assert peer.messages[0].content == b"\xe4\r\n"
    assert peer.lines("HELO") == ["HELO us.test"]


async def test_binary_content_fails() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        settlement = await office.forward(await office.put(body=Body.BINARY))
    assert isinstance(settlement, Fail)
    assert "5.6.3" in settlement.reason.text


async def test_utf8_address_goes_with_smtputf8() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        settlement = await office.forward(await office.put("ä@d.test", utf8=True))
    assert isinstance(settlement, Done)
    assert peer.messages[0].recipients == ["ä@d.test".encode()]
    assert peer.messages[0].parameters.endswith(b"SMTPUTF8")


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: x\r\n\r\nbody\r\n",
        b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nb\xc3\xb6dy\r\n",
    ],
)
async def test_mail_that_does_not_need_smtputf8_goes_without_it(content: bytes) -> None:
    async with SmtpPeer({"EHLO": "250-peer.test\r\n250 8BITMIME"}) as peer:
        office = Office(peer.address)
        message = await office.put(content=content, body=Body.EIGHT_BIT, utf8=True)
        assert isinstance(await office.forward(message), Done)
    assert peer.messages[0].parameters == b"BODY=8BITMIME"
    assert peer.messages[0].content == content


@pytest.mark.parametrize(
    "content",
    [
        "Subject: ä\r\n\r\nbody\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: ä\r\n\r\n--b--\r\n",
    ],
)
async def test_headers_beyond_ascii_need_smtputf8(content: str) -> None:
    async with SmtpPeer({"EHLO": "250 peer.test"}) as peer:
        office = Office(peer.address)
        settlement = await office.forward(await office.put(content=content.encode(), utf8=True))
        assert isinstance(settlement, Fail)
        assert "5.6.7" in settlement.reason.text
        # Such headers in mail of a client that did not request SMTPUTF8 do not concern us.
        assert isinstance(await office.forward(await office.put(content=content.encode())), Done)


async def test_sender_beyond_ascii_needs_smtputf8() -> None:
    async with SmtpPeer({"EHLO": "250 peer.test"}) as peer:
        office = Office(peer.address)
        settlement = await office.forward(await office.put(sender="ä@us.test", utf8=True))
    assert isinstance(settlement, Fail)
    assert "5.6.7" in settlement.reason.text
    assert peer.lines("MAIL") == []


async def test_recipient_beyond_ascii_fails_alone_where_smtputf8_is_not_offered() -> None:
    async with SmtpPeer({"EHLO": "250 peer.test"}) as peer:
        office = Office(peer.address)
        message = await office.put("a@d.test", "ä@d.test", utf8=True)
        settlement = await office.forward(message)
        history = await office.history(message)
    assert isinstance(settlement, Fail)
    assert "5.6.7" in settlement.reason.text
    assert history is not None
    assert list(history.delivered) == ["a@d.test"]
    assert [m.recipients for m in peer.messages] == [[b"a@d.test"]]


async def test_utf8_message_fails_where_smtputf8_is_not_offered() -> None:
    async with SmtpPeer({"EHLO": "250 peer.test"}) as peer:
        office = Office(peer.address)
        settlement = await office.forward(await office.put("ä@d.test", utf8=True))
    assert isinstance(settlement, Fail)
    assert "5.6.7" in settlement.reason.text


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


async def test_many_recipients_go_in_transactions_of_a_hundred() -> None:
    recipients = [f"r{n}@there.test" for n in range(250)]
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(*recipients), Done)
    assert [len(m.recipients) for m in peer.messages] == [100, 100, 50]
    assert peer.connections == 1


async def test_server_with_a_smaller_limit_gets_further_transactions() -> None:
    replies = ["250 ok", "250 ok", "452 4.5.3 too many recipients", *["250 ok"] * 3]
    async with SmtpPeer({"RCPT": replies}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(*[f"r{n}@there.test" for n in range(5)]), Done)
    assert [len(m.recipients) for m in peer.messages] == [2, 2, 1]


@pytest.mark.parametrize("ehlo", ["250 peer.test", "250-peer.test\r\n250 PIPELINING"])
@pytest.mark.parametrize(
    "limit",
    [
        "552 5.5.3 Maximum limit of 2 recipients reached",
        "550 5.5.3 no",
        "552 too many recipients",
        "554 5.7.1 too many recipients in one message",
    ],
)
async def test_recipients_beyond_a_limit_told_as_permanent_go_in_further_transactions(
    limit: str, ehlo: str
) -> None:
    replies = ["250 ok", "250 ok", limit]
    replies += ["503 5.5.1 out of order"] * (2 if "PIPELINING" in ehlo else 0)
    replies += ["250 ok"] * 3
    async with SmtpPeer({"EHLO": ehlo, "RCPT": replies}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(*[f"r{n}@there.test" for n in range(5)]), Done)
    # The limit is known from the first transaction on.
    assert [len(m.recipients) for m in peer.messages] == [2, 2, 1]
    assert sum(m.recipients.count(b"r4@there.test") for m in peer.messages) == 1


@pytest.mark.parametrize("step", ["DATA", "DOT"])
async def test_too_many_recipients_told_late_halve_the_transaction(step: str) -> None:
    good = {"DATA": "354 go", "DOT": "250 ok"}[step]
    async with SmtpPeer({step: ["552 5.5.3 too many recipients", good]}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send("a@t", "b@t", "c@t"), Done)
    assert [m.recipients for m in peer.messages] == [[b"a@t"], [b"b@t"], [b"c@t"]]


async def test_first_recipient_beyond_a_limit_is_tried_again_later() -> None:
    async with SmtpPeer({"RCPT": "552 5.5.3 too many recipients in this session"}) as peer:
        settlement = await Office(peer.address).send()
    assert isinstance(settlement, Defer)


async def test_full_mailbox_is_not_taken_for_too_many_recipients() -> None:
    async with SmtpPeer(recipients={b"b@t": "452 4.2.2 mailbox full"}) as peer:
        office = Office(peer.address)
        settlement = await office.send("a@t", "b@t", "c@t")
    assert isinstance(settlement, Defer)
    assert [m.recipients for m in peer.messages] == [[b"a@t", b"c@t"]]


async def test_recipient_named_twice_is_told_once() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        await office.send("a@t", "a@t")
    assert peer.messages[0].recipients == [b"a@t"]


async def test_recipients_done_with_are_not_offered_again() -> None:
    async with SmtpPeer({"RCPT": ["250 ok", "451 later", "550 never"]}) as peer:
        office = Office(peer.address)
        message = await office.put("a@t", "b@t", "c@t")
        assert isinstance(await office.forward(message), Defer)
        settlement = await office.forward(message)
    assert [m.recipients for m in peer.messages] == [[b"a@t"], [b"b@t"]]
    assert isinstance(settlement, Fail)
    assert settlement.reason.code == 550


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
        office.forwarding = forwarding = SlowlyRecorded(office.rules(), lambda: None)
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
