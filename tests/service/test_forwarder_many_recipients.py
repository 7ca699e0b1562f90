"""More recipients than a server takes at once go in further transactions."""

import pytest
from tests.fakes.smtp_peer import Act, Say, Script, SmtpPeer
from tests.service.forwarding import Office

from emailrelay.settlement import Defer, Done, Fail
from emailrelay_forwarder.session.transaction_size import KEPT, MOST_RECIPIENTS, TransactionSize


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


_REFUSED = "552 5.5.3 too many recipients"


@pytest.mark.parametrize(
    "ends",
    [
        {"DOT": [Say(f"{_REFUSED}\r\n".encode(), then_close=True)] * 2},
        {"DOT": [_REFUSED] * 2, "MAIL": ["250 ok", "421 4.7.0 bye"] * 2},
    ],
)
async def test_new_session_ended_after_a_refused_number_defers_the_rest(ends: Script) -> None:
    """A further session at once would take the same course, without an end."""
    async with SmtpPeer(ends) as peer:
        office = Office(peer.address)
        message = await office.put("a@t", "b@t", "c@t", "d@t")
        for sessions in (1, 2):
            assert isinstance(await office.forward(message), Defer)
            assert peer.connections == peer.contents == sessions
        # The next session begins with the number that is left after both refusals.
        assert isinstance(await office.forward(message), Done)
    assert [m.recipients for m in peer.messages] == [[b"a@t"], [b"b@t"], [b"c@t"], [b"d@t"]]


async def test_old_session_ended_after_a_refused_number_gives_way_to_a_new_one() -> None:
    ends: list[Act] = ["250 ok", Say(f"{_REFUSED}\r\n".encode(), then_close=True)]
    async with SmtpPeer({"DOT": ends}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send("a@t"), Done)
        assert isinstance(await office.send("a@t", "b@t"), Done)
    assert [(m.connection, len(m.recipients)) for m in peer.messages] == [(1, 1), (2, 1), (2, 1)]


def test_smaller_number_of_recipients_is_forgotten_after_a_time() -> None:
    size = TransactionSize()
    size.lower(3, now=1.0)
    size.lower(5, now=2.0)
    size.renew(1.0 + KEPT)
    assert size.most == 3
    size.renew(2.0 + KEPT)
    assert size.most == MOST_RECIPIENTS


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


@pytest.mark.parametrize("ehlo", ["250 peer.test", "250-peer.test\r\n250 PIPELINING"])
async def test_address_that_a_client_chooses_names_no_limit(ehlo: str) -> None:
    address = "max.recipients@there.test"
    refusals = {address.encode(): f"554 5.7.1 <{address}>: Relay access denied"}
    async with SmtpPeer({"EHLO": ehlo}, recipients=refusals) as peer:
        office = Office(peer.address)
        for recipients in (["a@t", address, "b@t"], [address], ["a@t", "b@t", "c@t"]):
            await office.send(*recipients)
        assert isinstance(await office.send(address), Fail)
    assert [m.recipients for m in peer.messages] == [[b"a@t", b"b@t"], [b"a@t", b"b@t", b"c@t"]]


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
