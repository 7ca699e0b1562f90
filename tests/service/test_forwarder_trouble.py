"""Servers that refuse, close, hang or send garbage: no mail is lost, and none fails by mistake."""

import asyncio
import itertools
import socket
from dataclasses import replace

import pytest
from tests.fakes.smtp_peer import Act, Close, Hang, Say, SmtpPeer, Wait
from tests.service.forwarding import CONTENT, HASTY, PATIENT, Office

from emailrelay.events.service import InternalError
from emailrelay.events.store import PossibleDuplicate
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail
from emailrelay.store.memory.claim import MemoryClaim
from emailrelay_forwarder.delivery.delivery import Progress
from emailrelay_forwarder.session.wire import Wire

TROUBLES: dict[str, Act] = {
    "421": Say(b"421 4.3.2 going down\r\n", then_close=True),
    "4yz": "451 4.3.0 not now",
    "5yz": "554 5.0.0 no",
    "close": Close(),
    "hang": Hang(),
    "garbage": Say(b"SSH-2.0-OpenSSH_9\r\n"),
}
STEPS = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT", "DOT"]
ABOUT_THE_MAIL = {"MAIL", "RCPT", "DATA", "DOT"}


@pytest.mark.parametrize(("step", "trouble"), list(itertools.product(STEPS, TROUBLES)))
async def test_trouble_at_each_step(step: str, trouble: str) -> None:
    act = TROUBLES[trouble]
    if step == "CONTENT" and isinstance(act, str):
        act = Say(f"{act}\r\n".encode(), then_close=True)
    # At CONTENT more than the kernel takes without the peer: else the trouble would answer the dot.
    content = b"x" * 30_000_000 if step == "CONTENT" else CONTENT
    async with SmtpPeer({step: act}) as peer:
        office = Office(peer.address, HASTY if trouble == "hang" else PATIENT)
        message = await office.put(content=content)
        settlement = await office.forward(message)
        await office.forwarding.close()
        assert peer.messages == []
    if step in ABOUT_THE_MAIL and trouble == "5yz":
        assert isinstance(settlement, Fail)
        assert str(settlement.reason) == "554 5.0.0 no <to@there.test>"
    else:
        assert isinstance(settlement, Defer)
        assert settlement.attempt.next_attempt is not None


@pytest.mark.parametrize("pattern", list(itertools.product(("250", "451", "550"), repeat=4)))
async def test_each_recipient_gets_its_own_answer(pattern: tuple[str, ...]) -> None:
    names = [f"r{n}@t" for n in range(4)]
    replies = {n.encode(): f"{code} for {n}" for n, code in zip(names, pattern, strict=True)}
    async with SmtpPeer(recipients=replies) as peer:
        office = Office(peer.address)
        message = await office.put(*names)
        settlement = await office.forward(message)
        taken = [n.encode() for n, code in zip(names, pattern, strict=True) if code == "250"]
        assert [m.recipients for m in peer.messages] == ([taken] if taken else [])
        assert isinstance(await office.send(), Done)  # the session is as good as before
        assert peer.connections == 1
    match set(pattern):
        case codes if codes == {"250"}:
            assert isinstance(settlement, Done)
        case codes if "451" in codes:
            assert isinstance(settlement, Defer)
            history = await office.history(message)
            assert history is not None
            assert [a.encode() for a in history.delivered] == taken
            assert [history.refused[a].text for a in history.refused] == [
                f"for {n}" for n, code in zip(names, pattern, strict=True) if code == "550"
            ]
        case _:
            assert isinstance(settlement, Fail)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"DATA": Say(b"354 go\r\n250 early\r\n"), "DOT": "554 rejected"}, "out of turn"),
        ({"greeting": Say(b"220 a\r\n220 b\r\n")}, "out of turn"),
        ({"MAIL": Say(b"250 a\r\n250 b\r\n")}, "out of turn"),
        ({"DATA": "250 no 354"}, "protocol error"),
        ({"MAIL": "354 go"}, "protocol error"),
        ({"RCPT": "354 go"}, "protocol error"),
        ({"DOT": "354 go"}, "protocol error"),
        ({"DOT": Say(b"250-a\r\n550 b\r\n")}, "two codes"),
        ({"RCPT": Say(b"550-a\r\n250 b\r\n")}, "two codes"),
        ({"DOT": Say(b"250 yes\r\n554 no\r\n")}, "two answers"),
        ({"MAIL": Say(b"250 ok\r\nnonsense\r\n")}, "out of turn"),
        ({"EHLO": Say(b"250-x\r\n" * 20000)}, "longer than"),
        ({"greeting": Say(b"220 " + b"x" * 200_000)}, "longer than"),
        ({"greeting": "250 not a greeting"}, "protocol error"),
        ({"EHLO": "220 not an answer"}, "protocol error"),
        ({"MAIL": Say(b"999 what\r\n")}, "no SMTP reply"),
        ({"MAIL": Say(b"\r\n")}, "no SMTP reply"),
    ],
)
async def test_broken_protocol_is_never_taken_for_an_answer(
    script: dict[str, Act], said: str
) -> None:
    async with SmtpPeer(script) as peer:
        office = Office(peer.address)
        settlement = await office.send()
        await office.forwarding.close()
    assert isinstance(settlement, Defer)
    assert said in str(settlement.attempt.trouble)
    assert not any(reply.accepted for reply in settlement.attempt.replies.values())


@pytest.mark.parametrize(
    "greeting",
    [
        Say(b"220-a\r\n220-b\r\n220 c\r\n"),
        Say(b"220\r\n"),
        Say(b"220 lf only\n"),
        Say(b"220 \xff\xfe\x00 eight bits\r\n"),
        Say(b"220 " + b"x" * 9000 + b"\r\n"),
    ],
)
async def test_odd_but_clear_replies_are_understood(greeting: Act) -> None:
    async with SmtpPeer({"greeting": greeting}) as peer:
        assert isinstance(await Office(peer.address).send(), Done)


async def test_acceptance_counts_when_the_server_goes_down_right_after() -> None:
    answer = Say(b"250 taken\r\n421 bye\r\n", then_close=True)
    async with SmtpPeer({"DOT": [answer]}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Done)
        assert isinstance(await office.send(), Done)
    assert peer.connections == 2


@pytest.mark.parametrize("trouble", ["close", "hang"])
async def test_no_answer_to_the_dot_is_told_as_possible_duplicate(trouble: str) -> None:
    async with SmtpPeer({"DOT": TROUBLES[trouble]}) as peer:
        office = Office(peer.address, replace(PATIENT, verdict=0.3))
        message = await office.put()
        assert isinstance(await office.forward(message), Defer)
    assert [event.id for event in office.events(PossibleDuplicate)] == [message]


async def test_trouble_just_before_the_dot_is_no_possible_duplicate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speak, spoken = asyncio.Event(), asyncio.Event()
    received = Wire.data_received

    def take(wire: Wire, data: bytes) -> None:
        received(wire, data)
        if data.startswith(b"554"):
            spoken.set()

    async def before_dot(_claim: MemoryClaim, _peer: str) -> bool:
        speak.set()
        await asyncio.wait_for(spoken.wait(), 60)
        return True

    monkeypatch.setattr(Wire, "data_received", take)
    monkeypatch.setattr(MemoryClaim, "before_dot", before_dot)
    early = Wait(asyncio.Event(), speak, b"554 5.0.0 no\r\n")
    async with SmtpPeer({"CONTENT": early}) as peer:
        office = Office(peer.address)
        settlement = await office.send()
        assert peer.contents == 0
    assert isinstance(settlement, Defer)
    assert settlement.attempt.trouble == Reply(554, "5.0.0 no")
    assert office.events(PossibleDuplicate) == []


async def test_refusal_of_the_dot_is_no_possible_duplicate() -> None:
    async with SmtpPeer({"DOT": TROUBLES["421"]}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Defer)
    assert office.events(PossibleDuplicate) == []


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
async def test_close_amid_the_content_defers(share: float) -> None:
    size = 1_000_000
    async with SmtpPeer({"CONTENT": Close(after=int(share * size))}) as peer:
        office = Office(peer.address)
        message = await office.put(content=b"x" * 998 + b"\r\n" + b"y" * size)
        settlement = await office.forward(message)
    assert isinstance(settlement, Defer)
    assert peer.messages == []


async def test_acceptance_amid_the_content_is_none() -> None:
    async with SmtpPeer({"CONTENT": Say(b"250 early\r\n"), "DOT": "554 rejected"}) as peer:
        office = Office(peer.address)
        settlement = await office.forward(await office.put(content=b"x\r\n" * 10_000_000))
    assert isinstance(settlement, Defer)
    assert "out of turn" in str(settlement.attempt.trouble)


async def test_servers_words_amid_the_content_are_kept() -> None:
    words = Say(b"552 5.3.4 too much\r\n")
    async with SmtpPeer({"CONTENT": words}) as peer:
        office = Office(peer.address)
        settlement = await office.forward(await office.put(content=b"x\r\n" * 10_000_000))
    assert isinstance(settlement, Defer)
    assert "5.3.4 too much" in str(settlement.attempt.trouble)


async def test_late_reply_is_never_taken_for_one_to_the_next_message() -> None:
    async with SmtpPeer({"MAIL": [Hang()]}) as peer:
        office = Office(peer.address, replace(PATIENT, reply=2.0))
        assert isinstance(await office.send(), Defer)
        assert isinstance(await office.send(), Done)
    assert peer.connections == 2


async def test_server_that_closes_after_each_message_gets_a_fresh_session() -> None:
    limit: list[Act] = ["250 ok", Say(b"421 4.7.0 too many messages\r\n", then_close=True)]
    async with SmtpPeer({"MAIL": limit * 3}) as peer:
        office = Office(peer.address)
        for _ in range(4):
            message = await office.put()
            assert isinstance(await office.forward(message), Done)
    assert (len(peer.messages), peer.connections) == (4, 4)


async def test_refusal_of_one_message_leaves_the_session_to_the_next() -> None:
    async with SmtpPeer({"MAIL": ["250 ok", "554 not this one"]}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Done)
        assert isinstance(await office.send(), Fail)
        assert isinstance(await office.send(), Done)
    assert peer.connections == 1


async def test_second_address_is_tried_in_the_same_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = unused.getsockname()
        async with SmtpPeer() as peer:
            real = socket.getaddrinfo

            def two_addresses(host: str, *args: object, **kwargs: object) -> object:
                if host != "two.test":
                    return real(host, *args, **kwargs)  # type: ignore[arg-type] # as they came
                if kwargs["flags"]:
                    raise socket.gaierror(socket.EAI_NONAME, "not numeric")
                kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
                return [(*kind, dead), (*kind, ("127.0.0.1", peer.port))]

            monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
            office = Office(f"two.test:{peer.port}")
            assert isinstance(await office.send(), Done)


async def test_unknown_host_defers(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_kwargs: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    office = Office("nowhere.test:25")
    settlement = await office.send()
    await office.forwarding.close()
    assert isinstance(settlement, Defer)
    assert "4.4.3" in str(settlement.attempt.trouble)


async def test_host_that_can_be_no_name_defers() -> None:
    office = Office("127.0.0.1:1")
    settlement = await office.forward(await office.put(forward_to_address=f"{'a' * 99}..b:25"))
    await office.forwarding.close()
    assert isinstance(settlement, Defer)
    assert office.events(InternalError) == []


async def test_session_lost_after_a_refused_message_costs_the_next_no_attempt() -> None:
    refused = Say(b"554 no\r\n", then_close=False)
    going = Say(b"421 4.7.0 too many errors\r\n", then_close=True)
    async with SmtpPeer({"MAIL": [refused, "250 ok"], "RSET": [going]}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Fail)
        assert isinstance(await office.send(), Done)
    assert peer.connections == 2


async def test_mistake_of_ours_in_one_message_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mistaken(_claim: object) -> None:
        raise ZeroDivisionError

    async with SmtpPeer() as peer:
        office = Office(peer.address)
        message = await office.put()
        async with await office.claim(message) as claim:
            monkeypatch.setattr(type(claim), "content", mistaken)
            settlement = await office.forwarding.forward(claim, Progress())
        monkeypatch.undo()
        assert isinstance(settlement, Defer)
        assert isinstance(await office.send(), Done)
    assert len(peer.messages) == 1


async def test_cancelled_before_the_dot_nothing_is_recorded() -> None:
    async with SmtpPeer({"RCPT": Hang()}) as peer:
        office = Office(peer.address)
        message = await office.put()
        delivery = asyncio.create_task(office.forward(message))
        await peer.until(command="RCPT")
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery
    history = await office.history(message)
    assert history is not None
    assert history.attempts == 0
