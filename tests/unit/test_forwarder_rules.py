"""The forwarder's plain rules: addresses, routes, replies, pauses, answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.envelope import Address
from emailrelay.errors import AddressError
from emailrelay.reply import Reply
from emailrelay_forwarder.delivery.delivery import Progress
from emailrelay_forwarder.delivery.forwarding import answer_of
from emailrelay_forwarder.server.breaker import LONGEST, LONGEST_REFUSED, Breaker
from emailrelay_forwarder.session.mailbox import on_wire
from emailrelay_forwarder.session.reply_reader import (
    LONGEST_REPLY,
    MOST_WAITING,
    ReplyGarbled,
    ReplyReader,
)
from emailrelay_forwarder.session.route import NextServer, NoRoute, parse
from emailrelay_forwarder.session.session_error import (
    SessionError,
    SessionStep,
    cut_off,
    unreachable,
)


@given(st.text(st.characters()), st.booleans())
def test_an_address_goes_out_verbatim_or_not_at_all(text: str, utf8: bool) -> None:  # noqa: FBT001 -- hypothesis fills it
    try:
        octets = on_wire(Address(text), utf8=utf8)
    except AddressError:
        return
    assert octets == text.encode()
    assert not any(octet < 32 or octet == 127 for octet in octets)
    assert octets.count(b">") == 0 or b'"' in octets
    assert utf8 or octets.isascii()


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("mail.isp.net:25", NextServer("mail.isp.net", "25")),
        ("mail.isp.net:smtp", NextServer("mail.isp.net", "smtp")),
        ("[::1]:2525", NextServer("::1", "2525")),
        ("/run/lmtp", NextServer("/run/lmtp", "")),
    ],
)
def test_a_route_reads_and_prints_the_same(text: str, route: NextServer) -> None:
    assert parse(text) == route
    assert str(route) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        ":25",
        "host:",
        "a b:25",
        "ho\nst:25",
        "host:2 5",
        "host:0",
        "host:65561",
        "host:²",
    ],
)
def test_what_is_no_route_says_so(text: str) -> None:
    with pytest.raises(NoRoute, match=r"cannot forward to .*: (needs|must|the port|.* is neither)"):
        parse(text)


def read(octets: bytes, width: int) -> tuple[int, str] | None:
    reader = ReplyReader()
    reply = None
    for at in range(0, len(octets), width):
        reader.feed(octets[at : at + width])
        reply = reply or reader.take()
    return reply


@pytest.mark.parametrize("width", [1, 2, 3, 1000])
def test_a_reply_may_come_in_pieces(width: int) -> None:
    assert read(b"250-a\r\n250-b\n250 c\r\n", width) == (250, "a\nb\nc")


@given(st.binary(), st.integers(1, 9))
def test_octets_are_a_reply_or_garbled_or_not_all_there(octets: bytes, width: int) -> None:
    try:
        reply = read(octets, width)
    except ReplyGarbled:
        return
    assert reply is None or 200 <= reply[0] <= 599


def test_what_follows_a_reply_is_noticed() -> None:
    reader = ReplyReader()
    reader.feed(b"354 go\r\n250 early\r\n")
    assert reader.take() == (354, "go")
    assert reader.waiting
    assert reader.take() == (250, "early")
    assert not reader.waiting


def test_an_endless_reply_ends_here() -> None:
    reader = ReplyReader()
    line = b"250-more\r\n"
    for _ in range(LONGEST_REPLY // len(line)):
        reader.feed(line)
        assert reader.take() is None
    reader.feed(line)
    with pytest.raises(ReplyGarbled, match="longer"):
        reader.take()


def test_each_of_many_replies_may_be_long() -> None:
    reader, count, text = ReplyReader(), 4, "x" * (LONGEST_REPLY // 2)
    reader.feed(b"550-a\r\n550 " + text.encode() + b"\r\n" + f"550 {text}\r\n".encode() * count)
    assert reader.take() == (550, f"a\n{text}")
    for _ in range(count):
        assert reader.take() == (550, text)
    assert not reader.waiting


@pytest.mark.parametrize("begins", [b"", b"250-x\r\n", b"250 ok\r\n"])
def test_a_line_without_end_ends_here(begins: bytes) -> None:
    reader = ReplyReader()
    reader.feed(begins + b"550 " + b"x" * LONGEST_REPLY)
    if begins == b"250 ok\r\n":
        assert reader.take() == (250, "ok")
    with pytest.raises(ReplyGarbled, match="longer"):
        reader.take()


def test_octets_that_no_one_takes_are_not_kept() -> None:
    reader = ReplyReader()
    reader.feed(b"250 ok\r\n" * (MOST_WAITING // 8))
    reader.feed(b"250 ok\r\n")
    with pytest.raises(ReplyGarbled, match="at once"):
        reader.take()


def test_pauses_grow_to_a_limit_and_start_anew_after_an_answer() -> None:
    breaker = Breaker()
    trouble = unreachable("nobody there")
    pauses = [breaker.failed(trouble, chance=0) for _ in range(20)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == LONGEST
    assert breaker.failed(trouble, chance=0.999) < LONGEST
    breaker.try_again()
    assert breaker.trouble is None
    assert breaker.failed(trouble, chance=0) == LONGEST
    breaker.recovered()
    assert breaker.failed(trouble, chance=0) == 1


def test_a_server_that_refuses_us_is_asked_more_rarely() -> None:
    breaker = Breaker()
    trouble = SessionError(SessionStep.EHLO, Reply(550, "go away"))
    assert [breaker.failed(trouble, chance=0) for _ in range(20)][-1] == LONGEST_REFUSED


def test_trouble_of_ours_with_the_server_is_temporary_for_a_client_who_waits() -> None:
    progress = Progress(
        trouble=SessionError(SessionStep.GREETING, Reply(554, "secret of the server"))
    )
    answer = answer_of(progress)
    assert answer.code == 451
    assert "secret" not in answer.text


def test_any_refusal_is_the_answer_for_a_client_who_waits() -> None:
    replies = {Address("a"): Reply(250, "ok"), Address("b"): Reply(550, "no b")}
    assert answer_of(Progress(replies=replies)) == Reply(550, "no b")


def test_the_verdict_is_the_answer_when_all_is_well() -> None:
    assert answer_of(Progress(replies={Address("a"): Reply(250, "as 1")})) == Reply(250, "as 1")


def test_only_an_unanswered_dot_leaves_doubt() -> None:
    assert Progress(at_dot=True, trouble=cut_off(SessionStep.DOT, "gone")).doubtful
    refused = SessionError(SessionStep.DOT, Reply(421, "bye"))
    assert not Progress(at_dot=True, trouble=refused).doubtful
    assert not Progress(trouble=cut_off(SessionStep.CONTENT, "gone")).doubtful
