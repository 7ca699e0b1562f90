"""The reasons in the log: from the server or from this relay, in words, not numbers."""

import socket
import ssl
from contextlib import closing
from dataclasses import replace

import pytest
from tests.fakes.smtp_peer import Act, Close, Hang, SmtpPeer
from tests.service.forwarding import HASTY, PATIENT, Office

from emailrelay.events.delivery import Deferred
from emailrelay.events.servers import SmarthostTrouble
from emailrelay.routes import Rate, Route, Routes
from emailrelay.settlement import Defer
from emailrelay_forwarder.session.session_error import in_words


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"greeting": "554 5.7.1 go away"}, "the server said at the greeting: 554 5.7.1 go away"),
        ({"EHLO": "421 4.3.2 busy"}, "the server said at EHLO: 421 4.3.2 busy"),
        ({"greeting": Hang()}, "451 4.4.2 no answer within 0.3 s at the greeting"),
        ({"EHLO": Close()}, "451 4.4.2 the server closed the connection at EHLO"),
    ],
)
async def test_reason_names_its_source(script: dict[str, Act], said: str) -> None:
    hangs = any(isinstance(act, Hang) for act in script.values())
    settings = replace(PATIENT, greeting=HASTY.greeting) if hangs else PATIENT
    async with SmtpPeer(script) as peer:
        office = Office(peer.address, settings)
        assert isinstance(await office.send(), Defer)
        await office.forwarding.close()
    assert [event.reason for event in office.events(SmarthostTrouble)] == [said]
    assert [event.reason for event in office.events(Deferred)] == [said]


async def test_refusal_of_a_recipient_is_told_as_the_servers_words() -> None:
    async with SmtpPeer({"RCPT": "450 4.2.0 greylisted"}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Defer)
        await office.forwarding.close()
    assert [event.reason for event in office.events(Deferred)] == [
        f"{peer.address} said: 450 4.2.0 greylisted <to@there.test>"
    ]


async def test_refused_connection_has_no_numbers_and_is_no_answer_of_a_server() -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        office = Office(address)
        settlement = await office.send()
        await office.forwarding.close()
    assert isinstance(settlement, Defer)
    told = f"451 4.4.1 no connection to {address}: connection refused"
    assert str(settlement.attempt.trouble) == told
    assert [event.reason for event in office.events(SmarthostTrouble)] == [told]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (socket.EAI_AGAIN, "no name server answers now"),
        (socket.EAI_NONAME, "the name is not known"),
        (socket.EAI_FAIL, "non-recoverable failure in name resolution"),
    ],
)
async def test_missing_address_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    real = socket.getaddrinfo

    def none(host: str, *args: object, **kwargs: object) -> object:
        if host != "away.test":
            return real(host, *args, **kwargs)  # type: ignore[arg-type] # as they came
        raise socket.gaierror(number, "Non-recoverable failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", none)
    office = Office("away.test:25")
    assert isinstance(await office.send(), Defer)
    await office.forwarding.close()
    [told] = office.events(SmarthostTrouble)
    assert told.reason == f"451 4.4.3 no address of away.test found: {said}"


async def test_rate_of_a_route_is_told_as_this_relays_own_limit() -> None:
    async with SmtpPeer() as peer:
        route = Route(name="slow", smarthosts=(peer.address,), rate=Rate(1, 3600))
        office = Office("", routes=Routes((route,)))
        await office.send()
        settlement = await office.send()
        await office.forwarding.close()
    assert isinstance(settlement, Defer)
    assert "this relay waits: its route slow sends at most 1" in str(settlement.attempt.trouble)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "connection reset by peer"),
        (OSError(111, "Connect call failed ('::1', 25)"), "connection refused"),
        (ssl.SSLError(1, "[SSL: BAD_RECORD_MAC] bad (_ssl.c:2580)"), "[SSL: BAD_RECORD_MAC] bad"),
        (socket.gaierror(socket.EAI_FAMILY, "ai_family not supported"), "ai_family not supported"),
        (OSError("as it says"), "as it says"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_of_the_system_is_told_in_its_words(error: Exception, said: str) -> None:
    assert said in in_words(error)
    assert "Errno" not in in_words(error)
