"""The changes that milters make to a message."""

import pytest
from tests.fakes.filter_servers import serving
from tests.fakes.milters import CONTINUE, ScriptedMilter, number, packet
from tests.service.milters.milter_desk import BOB, CONTENT, ENVELOPE, OURS, Desk

from emailrelay.envelope import Address
from emailrelay.filters.verdict import Abandon, Accept, Reject, Side


async def test_header_changes(desk: Desk) -> None:
    after = await desk.changed(
        packet(b"h", b"X-End\0last\0"),
        packet(b"i", number(0) + b"X-Top\0first\0"),
        packet(b"i", number(2) + b"X-Second\0a\n\tb\0"),
        packet(b"m", number(1) + b"subject\0changed\0"),
        packet(b"m", number(1) + b"X-Fold\0\0"),
        packet(b"m", number(1) + b"Received\0not ours\0"),
    )
    assert after == (
        b"X-Top: first\r\n" + OURS + b"X-Second: a\r\n\tb\r\n"
        b"subject: changed\r\nX-End: last\r\nReceived: not ours\r\n\r\nbody\r\n"
    )


async def test_value_cannot_begin_another_field(desk: Desk) -> None:
    after = await desk.changed(packet(b"h", b"X-A\0a\nBcc: b\r\n\r\nc\0"))
    assert b"X-A: a\r\n\tBcc: b\r\n\t\r\n\tc\r\n\r\nbody" in after
    after = await desk.changed(packet(b"h", b"X-A\0a\rBcc: b\r\r\nc\r\0"))
    assert b"X-A: a\r\n\tBcc: b\r\n\tc\r\n\t\r\n\r\nbody" in after


async def test_new_body_has_proper_line_ends(desk: Desk) -> None:
    head = CONTENT.removesuffix(b"body\r\n")
    assert await desk.changed(packet(b"b", b"a\r"), packet(b"b", b"\nb\nc")) == (
        head + b"a\r\nb\r\nc\r\n"
    )
    assert await desk.changed(packet(b"b")) == head
    assert await desk.changed(packet(b"b", b"x\r\n")) == head + b"x\r\n"


async def test_content_without_a_header_gets_one(desk: Desk) -> None:
    after = await desk.changed(packet(b"h", b"X-A\0v\0"), content=b"no header here\r\n")
    assert after == b"X-A: v\r\n\r\nno header here\r\n"


async def test_envelope_changes(desk: Desk) -> None:
    after = await desk.envelope_after(
        packet(b"e", b"<new@x.test>\0SIZE=1\0"),
        packet(b"+", b"<carl@y.test>\0"),
        packet(b"2", b"dora@y.test\0NOTIFY=NEVER\0"),
        packet(b"+", b"<bob@y.test>\0"),
        packet(b"-", b"<ann@y.test>\0"),
        packet(b"-", b"<unknown@y.test>\0"),
    )
    assert after == ENVELOPE._replace(
        sender=Address("new@x.test"),
        to_local=(),
        to_remote=(BOB, Address("carl@y.test"), Address("dora@y.test")),
    )
    assert (await desk.envelope_after(packet(b"e", b"<>\0"))).sender == ""


async def test_message_without_recipients_is_dropped(desk: Desk) -> None:
    gone = (packet(b"-", b"<ann@y.test>\0"), packet(b"-", b"<bob@y.test>\0"))
    assert await desk.ask(ScriptedMilter(at_end=(*gone, CONTINUE))) == Abandon()


async def test_quarantine_goes_with_the_changes(desk: Desk) -> None:
    at_end = (packet(b"q", b"looks\nodd\0"), packet(b"h", b"X-A\0v\0"), CONTINUE)
    copy = desk.copy()
    async with serving(ScriptedMilter(at_end=at_end)) as place:
        verdict = await desk.run(f"milter:{place}", "exit:0", copy=copy)
        assert verdict == Accept(quarantine=f"milter:{place}: looks odd")
        assert b"X-A: v" in copy.content.read_bytes()
        rejected = await desk.run(f"milter:{place}", "exit:1")
        assert isinstance(rejected, Reject)
        client = await desk.run(f"milter:{place}", side=Side.CLIENT)
        assert client == Accept(quarantine=f"milter:{place}: looks odd")


async def test_rejected_message_is_not_changed(desk: Desk) -> None:
    copy = desk.copy()
    at_end = (packet(b"h", b"X-A\0v\0"), packet(b"b", b"new"), packet(b"r"))
    assert isinstance(await desk.ask(ScriptedMilter(at_end=at_end), copy), Reject)
    assert copy.content.read_bytes() == CONTENT


ODD = OURS + b"A: 1\rB: 2\nC:\0 3\r\n\r\nline\nli\0ne\rlast\r\n"
AS_SENT = OURS + b"A: 1\r\nB: 2\r\nC: 3\r\n\r\nline\r\nline\r\nlast\r\n"


@pytest.mark.parametrize("more", [0, 400_000])
async def test_milter_gets_the_message_in_the_form_that_goes_out(desk: Desk, more: int) -> None:
    rest = more * b"x" + b"\n"
    script = ScriptedMilter()
    copy = desk.copy(ODD + rest)
    assert await desk.ask(script, copy) == Accept()
    assert script.told(b"L") == [b"A\x001\0", b"B\x002\0", b"C\x003\0"]
    body = b"line\r\nline\r\nlast\r\n" + more * b"x" + b"\r\n"
    assert b"".join(script.told(b"B")) == body
    # What nobody changes is not written.
    assert copy.content.read_bytes() == ODD + rest
    after = await desk.changed(packet(b"i", number(1) + b"X-A\0v\0"), content=ODD + rest)
    assert after == AS_SENT.replace(b"A: 1", b"X-A: v\r\nA: 1", 1) + more * b"x" + b"\r\n"
    assert len(list(copy.content.parent.iterdir())) == 2


async def test_last_line_without_an_end_stays_so(desk: Desk) -> None:
    content = OURS + b"A: 1\r\n\r\nno end"
    after = await desk.changed(packet(b"h", b"X-A\0v\0"), content=content)
    assert after == content.replace(b"\r\n\r\n", b"\r\nX-A: v\r\n\r\n")


async def test_second_milter_sees_the_changes_of_the_first(desk: Desk) -> None:
    first = ScriptedMilter(at_end=(packet(b"h", b"X-A\0v\0"), packet(b"b", b"new"), CONTINUE))
    second = ScriptedMilter()
    async with serving(first) as one, serving(second) as two:
        await desk.run(f"milter:{one},milter:{two}")
    assert b"X-A\0v\0" in second.told(b"L")
    assert second.told(b"B") == [b"new\r\n"]
