"""Several commands at once (RFC 2920): each reply belongs to one of them, and none counts early.

What holds for servers that hear one command at a time must hold here, so their tests are run again.
"""

import asyncio
from collections.abc import Sequence

import pytest
from tests.fakes import smtp_peer
from tests.fakes.smtp_peer import Act, Hang, Say, SmtpPeer
from tests.service import test_forwarder_trouble as one_by_one
from tests.service.forwarding import HASTY, Office
from tests.service.test_forwarder_awaited import ask

from emailrelay.settlement import Defer, Done, Fail
from emailrelay_forwarder.session.session_error import SessionError, SessionStep
from emailrelay_forwarder.session.wire import Wire

PIPELINING = "250-peer.test\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 SIZE 104857600"


test_acceptance_amid_the_content_is_none = one_by_one.test_acceptance_amid_the_content_is_none
test_cancelled_before_the_dot_nothing_is_recorded = (
    one_by_one.test_cancelled_before_the_dot_nothing_is_recorded
)
test_close_amid_the_content_defers = one_by_one.test_close_amid_the_content_defers
test_each_recipient_gets_its_own_answer = one_by_one.test_each_recipient_gets_its_own_answer
test_late_reply_is_never_taken_for_one_to_the_next_message = (
    one_by_one.test_late_reply_is_never_taken_for_one_to_the_next_message
)
test_refusal_of_one_message_leaves_the_session_to_the_next = (
    one_by_one.test_refusal_of_one_message_leaves_the_session_to_the_next
)
test_server_that_closes_after_each_message_gets_a_fresh_session = (
    one_by_one.test_server_that_closes_after_each_message_gets_a_fresh_session
)
test_session_lost_after_a_refused_message_costs_the_next_no_attempt = (
    one_by_one.test_session_lost_after_a_refused_message_costs_the_next_no_attempt
)
test_trouble_at_each_step = one_by_one.test_trouble_at_each_step


@pytest.fixture(autouse=True)
def _offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(smtp_peer.GOOD, "EHLO", PIPELINING)


def after_ehlo(peer: SmtpPeer) -> list[str]:
    return [command.split(" ")[1] for command in peer.commands[1:]]


async def test_all_of_the_envelope_is_said_before_the_first_reply() -> None:
    silent = Say(b"")
    async with SmtpPeer({"MAIL": silent, "RCPT": silent, "DATA": Hang()}) as peer:
        sending = asyncio.create_task(Office(peer.address).send("a@t", "b@t"))
        await peer.until(command="DATA")
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert after_ehlo(peer) == ["MAIL", "RCPT", "RCPT", "DATA"]


async def test_replies_that_arrive_together_need_no_further_wait() -> None:
    wire = Wire()
    wire.data_received(b"250 2.1.0 ok\r\n550 5.1.1 who?\r\n354 g")
    assert wire.at_hand(SessionStep.MAIL) == (250, "2.1.0 ok")
    assert wire.at_hand(SessionStep.RCPT) == (550, "5.1.1 who?")
    assert wire.at_hand(SessionStep.DATA) is None
    wire.data_received(b"o\r\nnonsense\r\n")
    assert await wire.reply(SessionStep.DATA, 1.0) == (354, "go")
    with pytest.raises(SessionError, match="no SMTP reply"):
        wire.at_hand(SessionStep.DOT)


@pytest.mark.parametrize(
    ("recipients", "said"),
    [(["a@t"], ["MAIL", "RCPT", "DATA"]), (["a@t", "b@t"], ["MAIL", "RCPT", "RCPT"])],
)
async def test_data_waits_where_one_of_several_refusals_would_be_the_answer(
    recipients: list[str], said: list[str]
) -> None:
    async with SmtpPeer({"MAIL": Say(b""), "RCPT": Say(b""), "DATA": Hang()}) as peer:
        asking = asyncio.create_task(ask(Office(peer.address), *recipients))
        await peer.until(command=said[-1])
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert after_ehlo(peer) == said


async def test_refusal_of_the_only_recipient_of_a_waiting_client_is_its_answer() -> None:
    script: dict[str, Act | Sequence[Act]] = {"RCPT": ["550 5.1.1 who?"], "DATA": ["503 5.5.1 no"]}
    async with SmtpPeer(script) as peer:
        office = Office(peer.address)
        assert str(await ask(office, "a@t")) == "550 5.1.1 who?"
        assert str(await ask(office, "a@t")).startswith("250")
        await office.forwarding.close()
    assert peer.connections == 1


async def test_server_without_the_extension_hears_one_command_at_a_time() -> None:
    async with SmtpPeer({"EHLO": "250 peer.test", "RCPT": "550 no"}) as peer:
        assert isinstance(await Office(peer.address).send(), Fail)
    assert after_ehlo(peer) == ["MAIL", "RCPT"]


@pytest.mark.parametrize("to_dot", ["554 5.5.1 no valid recipients", "250 2.0.0 taken"])
async def test_go_ahead_without_recipients_is_answered_with_a_lone_dot(to_dot: str) -> None:
    script: dict[str, Act | Sequence[Act]] = {
        "RCPT": ["550 5.1.1 no such user"],
        "DATA": ["354 go ahead"],
        "DOT": [to_dot],
    }
    async with SmtpPeer(script) as peer:
        office = Office(peer.address)
        settlement = await office.send()
        assert isinstance(settlement, Fail)
        assert "no such user" in str(settlement.reason)
        assert isinstance(await office.send(), Done)
        await office.forwarding.close()
    # The peer records the accepted message after its final dot, for any number of recipients.
    assert [m.content for m in peer.messages if not m.recipients] in ([], [b""])
    assert peer.connections == 1


async def test_refused_sender_is_the_answer_for_every_recipient() -> None:
    script: dict[str, Act | Sequence[Act]] = {"MAIL": "451 4.3.0 not now", "DATA": "503 5.5.1 no"}
    async with SmtpPeer(script) as peer:
        office = Office(peer.address)
        settlement = await office.send("a@t", "b@t")
    assert isinstance(settlement, Defer)
    assert {str(reply) for reply in settlement.attempt.replies.values()} == {"451 4.3.0 not now"}


@pytest.mark.parametrize(
    "script",
    [
        # As many replies as commands and one more, all at once: the last one is not the verdict.
        {
            "MAIL": Say(b"250 a\r\n250 b\r\n354 go\r\n250 early\r\n"),
            "RCPT": Say(b""),
            "DATA": Say(b""),
            "DOT": "554 rejected",
        },
        {"MAIL": Say(b"250 a\r\n250 b\r\n"), "DATA": "354 go", "DOT": "554 rejected"},
        {"RCPT": Say(b"250 a\r\n354 go\r\n"), "DATA": "250 taken", "DOT": "250 taken"},
        {"DATA": Say(b"354 go\r\n250 taken\r\n"), "DOT": "554 rejected"},
        {"DATA": "250 taken"},
    ],
)
async def test_replies_too_many_or_too_early_never_count_as_accepted(
    script: dict[str, Act],
) -> None:
    async with SmtpPeer(script) as peer:
        office = Office(peer.address, HASTY)
        settlement = await office.send()
        await office.forwarding.close()
    assert isinstance(settlement, Defer)
    assert not any(reply.accepted for reply in settlement.attempt.replies.values())


async def test_recipients_beyond_the_servers_limit_go_in_a_further_transaction() -> None:
    names = [f"r{number}@t" for number in range(7)]
    three: list[Act] = ["250 ok", "250 ok", "250 ok"]
    full: Act = "452 4.5.3 too many"
    limits = [*three, full, full, full, full, *three, "250 ok"]
    async with SmtpPeer({"RCPT": limits}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(*names), Done)
    assert [len(m.recipients) for m in peer.messages] == [3, 3, 1]
    assert {r.decode() for m in peer.messages for r in m.recipients} == set(names)


async def test_hundreds_of_recipients_go_a_hundred_at_a_time() -> None:
    names = [f"r{number}@t" for number in range(250)]
    async with SmtpPeer() as peer:
        assert isinstance(await Office(peer.address).send(*names), Done)
    assert [len(m.recipients) for m in peer.messages] == [100, 100, 50]
