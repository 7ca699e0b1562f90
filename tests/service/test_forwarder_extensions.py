"""Extensions of the server: SIZE, the body's type, addresses and headers beyond ASCII."""

import pytest
from tests.fakes.smtp_peer import Say, SmtpPeer
from tests.service.forwarding import CONTENT, Office

from emailrelay.envelope import Body
from emailrelay.settlement import Done, Fail


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
