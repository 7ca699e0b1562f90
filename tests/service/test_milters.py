"""Milters on real sockets: the dialogue, their changes and verdicts, and milters that misbehave."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.filter_servers import serving
from tests.fakes.milters import CONTINUE, ScriptedMilter, number, packet

from emailrelay import envelope_format
from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.config import FilterdSettings, read
from emailrelay.dsn_request import NO_REQUEST, DsnRequest, Notify, RecipientRequest, Return
from emailrelay.envelope import Address, Body, Envelope
from emailrelay.errors import ConfigError
from emailrelay.filters.chain import Chain
from emailrelay.filters.milter import connection, conversation, milter
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.spec import parse_chain
from emailrelay.filters.verdict import (
    Abandon,
    Accept,
    BrokenFilter,
    RefusedRecipient,
    Reject,
    Side,
    Verdict,
)
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.service.checks import filters
from emailrelay.store.base import WorkCopy

MESSAGE = QueueId("1.2.3")
ANN, BOB = Address("ann@y.test"), Address("bob@y.test")
ENVELOPE = Envelope(
    sender=Address("a@x.test"),
    to_local=(ANN,),
    to_remote=(BOB,),
    body=Body.EIGHT_BIT,
    client="192.0.2.7",
    authentication="alice",
    mail_from_auth_in="alice@x.test",
    arrival=ArrivalFacts("client.test", "TLSv1.3", "TLS_AES_256_GCM_SHA384", "PLAIN"),
)
OURS = (
    b"Received: from client.test ([192.0.2.7])\r\n\tby relay.test with ESMTP id 1.2.3;\r\n\tnow\r\n"
)
CONTENT = OURS + b"Subject: hello\r\nX-Fold: one\r\n\ttwo\r\n\r\nbody\r\n"
DEADLINE = 10.0
NEGOTIATION = b"O"


class Desk:
    """Work copies, and a milter that is asked about them."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder = folder
        self.programs = programs

    def copy(self, content: bytes = CONTENT, envelope: Envelope = ENVELOPE) -> WorkCopy:
        folder = self.folder / f"{len(list(self.folder.iterdir()))}.run"
        folder.mkdir()
        copy = WorkCopy(str(folder / "m.content"), str(folder / "m.envelope.new"))
        copy.content.write_bytes(content)
        copy.envelope.write_bytes(envelope_format.write(envelope) + b"X-MailRelay-Tail: {}\r\n")
        return copy

    async def run(
        self,
        *specs: str,
        copy: WorkCopy | None = None,
        side: Side = Side.SERVER,
        dsn: DsnRequest = NO_REQUEST,
    ) -> Verdict:
        chain = Chain(filters=parse_chain(specs), side=side, programs=self.programs)
        async with asyncio.timeout(DEADLINE):
            return (await chain.run(copy or self.copy(), message=MESSAGE, dsn=dsn)).verdict

    async def ask(
        self,
        script: ScriptedMilter,
        copy: WorkCopy | None = None,
        side: Side = Side.SERVER,
        dsn: DsnRequest = NO_REQUEST,
    ) -> Verdict:
        async with serving(script) as place:
            return await self.run(f"milter:{place}", copy=copy, side=side, dsn=dsn)

    async def changed(self, *packets: bytes, content: bytes = CONTENT, steps: int = 0) -> bytes:
        """Give the content after changes that a milter asks for at the end of the body."""
        copy = self.copy(content)
        script = ScriptedMilter(at_end=(*packets, CONTINUE), steps=steps)
        assert await self.ask(script, copy) == Accept()
        return copy.content.read_bytes()

    async def envelope_after(self, *packets: bytes) -> Envelope:
        copy = self.copy()
        assert await self.ask(ScriptedMilter(at_end=(*packets, CONTINUE)), copy) == Accept()
        parsed = envelope_format.parse(copy.envelope.read_bytes())
        assert parsed.tail == b"X-MailRelay-Tail: {}\r\n"
        return parsed.envelope


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Programs(ProgramLimits(timeout=5.0)) as programs:
        yield Desk(tmp_path, programs)


async def test_milter_gets_the_whole_message_in_order(desk: Desk) -> None:
    script = ScriptedMilter()
    copy = desk.copy()
    before = copy.content.stat(), copy.envelope.stat()
    assert await desk.ask(script, copy) == Accept()
    assert script.steps_heard == "OCHMRRTLLNBE"
    assert script.told(b"O") == [number(6) + number(0x1FF) + number(0x1FFFFF)]
    assert script.told(b"C") == [b"[192.0.2.7]\x004\x00\x00192.0.2.7\x00"]
    assert script.told(b"H") == [b"client.test\0"]
    assert script.told(b"M") == [
        b"<a@x.test>\0SIZE=%d\0BODY=8BITMIME\0AUTH=alice@x.test\0" % len(CONTENT)
    ]
    assert script.told(b"R") == [b"<ann@y.test>\0", b"<bob@y.test>\0"]
    assert script.told(b"L") == [b"Subject\0hello\0", b"X-Fold\0one\n\ttwo\0"]
    assert script.told(b"B") == [b"body\r\n"]
    assert (copy.content.stat(), copy.envelope.stat()) == before


async def test_parameters_of_mail_and_rcpt_are_those_of_the_client(desk: Desk) -> None:
    asked = RecipientRequest((Notify.SUCCESS, Notify.FAILURE), "rfc822;bob+2B@y.test")
    script = ScriptedMilter()
    await desk.ask(script, dsn=DsnRequest(Return.HEADERS, "e+3Dd", {BOB: asked}))
    assert script.told(b"M")[0].split(b"\0")[3:5] == [b"RET=HDRS", b"ENVID=e+3Dd"]
    assert script.told(b"R") == [
        b"<ann@y.test>\0",
        b"<bob@y.test>\0NOTIFY=SUCCESS,FAILURE\0ORCPT=rfc822;bob+2B@y.test\0",
    ]


async def test_macros_stand_in_front_of_their_commands(desk: Desk) -> None:
    script = ScriptedMilter()
    await desk.ask(script)
    macros = {data[:1]: data[1:].split(b"\0")[:-1] for data in script.told(b"D")}
    pairs = {key: dict(zip(v[::2], v[1::2], strict=True)) for key, v in macros.items()}
    assert pairs[b"C"][b"{client_addr}"] == b"192.0.2.7"
    assert pairs[b"C"][b"_"] == b"[192.0.2.7]"
    assert pairs[b"H"] == {b"{tls_version}": b"TLSv1.3", b"{cipher}": b"TLS_AES_256_GCM_SHA384"}
    assert pairs[b"M"] == {
        b"i": b"1.2.3",
        b"{auth_type}": b"PLAIN",
        b"{auth_authen}": b"alice",
        b"{auth_author}": b"alice@x.test",
        b"{mail_addr}": b"a@x.test",
        b"{mail_host}": b"x.test",
        b"{mail_mailer}": b"smtp",
    }
    assert pairs[b"R"] == {
        b"{rcpt_addr}": b"bob@y.test",
        b"{rcpt_host}": b"y.test",
        b"{rcpt_mailer}": b"smtp",
    }
    assert pairs[b"E"] == {b"i": b"1.2.3"}


async def test_milter_gets_the_macros_that_it_lists_and_no_others(desk: Desk) -> None:
    lists = number(2) + b"{auth_type}, j {none}\0" + number(0) + b"\0"
    script = ScriptedMilter(lists=lists)
    await desk.ask(script)
    macros = {data[:1]: data[1:] for data in script.told(b"D")}
    assert b"C" not in macros
    assert macros[b"M"].split(b"\0")[::2] == [b"j", b"{auth_type}", b""]


@pytest.mark.parametrize(
    ("steps", "heard"),
    [
        (0x1, "OHMRRTLLNBE"),
        (0x2, "OCMRRTLLNBE"),
        (0x4, "OCHRRTLLNBE"),
        (0x8, "OCHMTLLNBE"),
        (0x10, "OCHMRRTLLNE"),
        (0x20, "OCHMRRTNBE"),
        (0x40, "OCHMRRTLLBE"),
        (0x200, "OCHMRRLLNBE"),
        (0x27F, "OE"),
        (0xDF080, "OCHMRRTLLNBE"),
    ],
)
async def test_steps_that_it_does_not_want_or_not_answer(
    desk: Desk, steps: int, heard: str
) -> None:
    script = ScriptedMilter(steps=steps)
    assert await desk.ask(script) == Accept()
    assert script.steps_heard == heard


async def test_values_keep_the_blank_if_the_milter_wants_it(desk: Desk) -> None:
    script = ScriptedMilter(steps=0x100000)
    await desk.ask(script)
    assert script.told(b"L") == [b"Subject\0 hello\0", b"X-Fold\0 one\n\ttwo\0"]


async def test_body_comes_in_pieces_and_the_rest_can_be_skipped(desk: Desk) -> None:
    content = b"Subject: big\r\n\r\n" + bytes(150_000)
    whole = ScriptedMilter()
    await desk.ask(whole, desk.copy(content))
    assert [len(data) for data in whole.told(b"B")] == [65_535, 65_535, 18_930, 2]
    skipping = ScriptedMilter(answers={b"B": packet(b"s")})
    assert await desk.ask(skipping, desk.copy(content)) == Accept()
    assert skipping.steps_heard == "OCHMRRTLNBE"


async def test_last_line_of_a_body_has_an_end(desk: Desk) -> None:
    for body in (b"no end", b"end\r\n", b"\r\n"):
        script = ScriptedMilter()
        await desk.ask(script, desk.copy(b"Subject: x\r\n\r\n" + body))
        assert b"".join(script.told(b"B")) == body.removesuffix(b"\r\n") + b"\r\n"


@pytest.mark.parametrize("step", [b"C", b"H", b"M", b"R", b"T", b"L", b"N", b"B", b"E"])
@pytest.mark.parametrize("steps", ["together", "one by one"])
async def test_verdict_at_any_step_is_about_this_message_only(
    desk: Desk, step: bytes, steps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if steps != "together":
        monkeypatch.setattr(connection, "_QUICK", None)
    for answer, expected in (
        (packet(b"a"), Accept),
        (packet(b"d"), Abandon),
        (packet(b"r"), Reject),
        (packet(b"t"), Reject),
    ):
        script = ScriptedMilter(answers={step: answer})
        async with serving(script) as place:
            assert isinstance(await desk.run(f"milter:{place}"), expected)
            heard = script.steps_heard.rstrip("AQ")
            for_one = step == b"R" and expected is Reject and answer == packet(b"r")
            assert steps == "together" or heard.count(step.decode()) == (2 if for_one else 1)
            script.answers.clear()
            assert await desk.run(f"milter:{place}") == Accept()


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (packet(b"r"), Reply(550, "5.7.1 message rejected")),
        (packet(b"t"), Reply(451, "4.7.1 try again later")),
        (packet(b"y", b"554 5.7.1 no thanks\0"), Reply(554, "5.7.1 no thanks")),
        (packet(b"y", b"550-5.7.1 one\r\n550 two\0"), Reply(550, "5.7.1 one two")),
        (packet(b"y", b"421 4.7.0 bye\0"), Reply(421, "4.7.0 bye")),
        (packet(b"y", b"554\0"), Reply(554, "rejected")),
        (packet(b"y", b"554 caf\xc3\xa9 \x1b[2J\0"), Reply(554, "caf?  [2J")),
    ],
)
async def test_rejection_has_the_reply_of_the_milter(
    desk: Desk, answer: bytes, reply: Reply
) -> None:
    verdict = await desk.ask(ScriptedMilter(at_end=(answer,)))
    assert isinstance(verdict, Reject)
    assert verdict.reply == reply


def refusing(text: bytes, *names: bytes) -> ScriptedMilter:
    """Give a milter that has this answer to recipients whose address begins so."""

    def answer(kind: bytes, data: bytes) -> bytes:
        return packet(text[:1], text[1:]) if kind == b"R" and data.startswith(names) else b""

    return ScriptedMilter(answer=answer)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (b"y550 5.1.1 who\0", Reply(550, "5.1.1 who")),
        (b"r", Reply(550, "5.7.1 recipient rejected")),
    ],
)
async def test_recipient_that_is_refused_does_not_get_the_message(
    desk: Desk, answer: bytes, reply: Reply
) -> None:
    script, second, copy = refusing(answer, b"<bob"), ScriptedMilter(), desk.copy()
    async with serving(script) as place, serving(second) as other:
        verdict = await desk.run(f"milter:{place}", f"milter:{other}", copy=copy)
        refused = (RefusedRecipient(BOB, reply, f"milter:{place}"),)
    assert verdict == Accept(refused=refused)
    assert script.steps_heard == "OCHMRRTLLNBE"
    assert second.told(b"R") == [b"<ann@y.test>\0"]
    # It is in the envelope, for the notice to the sender.
    after = envelope_format.parse(copy.envelope.read_bytes()).envelope
    assert after.recipients == (ANN, BOB)


async def test_refused_recipient_is_not_in_the_copy_of_a_client_filter(desk: Desk) -> None:
    copy = desk.copy()
    verdict = await desk.ask(refusing(b"r", b"<bob"), copy, side=Side.CLIENT)
    assert [each.address for each in verdict.refused] == [BOB]
    assert envelope_format.parse(copy.envelope.read_bytes()).envelope.recipients == (ANN,)


async def test_message_is_rejected_if_all_recipients_are(desk: Desk) -> None:
    script = refusing(b"y550 5.1.1 who\0", b"<")
    verdict = await desk.ask(script)
    assert isinstance(verdict, Reject)
    assert verdict.reply == Reply(550, "5.1.1 who")
    assert verdict.reason == "the milter says 550 5.1.1 who for <ann@y.test>"
    assert script.steps_heard == "OCHMRR"


async def test_message_waits_for_a_recipient_refused_for_now(desk: Desk) -> None:
    for answer in (b"t", b"y451 4.7.1 greylisted\0"):
        verdict = await desk.ask(refusing(answer, b"<bob"))
        assert isinstance(verdict, Reject)
        assert not verdict.reply.permanent
        assert verdict.reason.endswith(" for <bob@y.test>")


async def test_sender_is_told_of_refused_recipients_of_a_dropped_message(desk: Desk) -> None:
    dropping = refusing(b"r", b"<bob")
    dropping.at_end = (packet(b"d"),)
    removing = refusing(b"r", b"<bob")
    removing.at_end = (packet(b"-", b"<ann@y.test>\0"), CONTINUE)
    for script in (dropping, removing):
        verdict = await desk.ask(script)
        assert isinstance(verdict, Abandon)
        assert [each.address for each in verdict.refused] == [BOB]


async def test_temporary_rejection_of_a_client_filter_waits(desk: Desk) -> None:
    for answer, kind in ((packet(b"t"), BrokenFilter), (packet(b"r"), Reject)):
        verdict = await desk.ask(ScriptedMilter(at_end=(answer,)), side=Side.CLIENT)
        assert isinstance(verdict, kind)


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


async def test_second_milter_sees_the_changes_of_the_first(desk: Desk) -> None:
    first = ScriptedMilter(at_end=(packet(b"h", b"X-A\0v\0"), packet(b"b", b"new"), CONTINUE))
    second = ScriptedMilter()
    async with serving(first) as one, serving(second) as two:
        await desk.run(f"milter:{one},milter:{two}")
    assert b"X-A\0v\0" in second.told(b"L")
    assert second.told(b"B") == [b"new\r\n"]


async def test_connection_serves_the_next_message(desk: Desk) -> None:
    script = ScriptedMilter()
    async with serving(script) as place:
        for _ in range(3):
            assert await desk.run(f"milter:{place}") == Accept()
    assert script.connections == 1
    assert script.steps_heard == "OCHMRRTLLNBE" + 2 * "AMRRTLLNBE"


async def test_another_client_gets_another_connection(desk: Desk) -> None:
    script = ScriptedMilter()
    async with serving(script) as place:
        for client in ("192.0.2.7", "192.0.2.8", "192.0.2.7"):
            copy = desk.copy(envelope=ENVELOPE._replace(client=client))
            assert await desk.run(f"milter:{place}", copy=copy) == Accept()
    assert script.connections == 2
    assert len(script.told(b"C")) == 2


async def test_idle_connections_are_few(desk: Desk) -> None:
    script = ScriptedMilter()
    async with serving(script) as place:
        for n in range(20):
            copy = desk.copy(envelope=ENVELOPE._replace(client=f"192.0.2.{n}"))
            assert await desk.run(f"milter:{place}", copy=copy) == Accept()
        async with asyncio.timeout(DEADLINE):
            await script.until(b"Q", 4)
    assert len(script.told(b"Q")) == 4


async def test_message_can_follow_one_that_was_rejected_early(desk: Desk) -> None:
    script = ScriptedMilter({b"R": packet(b"r")})
    async with serving(script) as place:
        for _ in range(2):
            assert isinstance(await desk.run(f"milter:{place}"), Reject)
    assert script.steps_heard == "OCHMRRAMRR"


async def test_verdict_on_a_client_ends_the_connection(desk: Desk) -> None:
    script = ScriptedMilter({b"C": packet(b"a")})
    async with serving(script) as place:
        for _ in range(2):
            assert await desk.run(f"milter:{place}") == Accept()
    assert script.connections == 2


async def test_kept_connection_that_its_milter_closes_is_replaced(desk: Desk) -> None:
    script = ScriptedMilter(answers={b"A": None})
    async with serving(script) as place:
        for _ in range(3):
            assert await desk.run(f"milter:{place}") == Accept()
    assert script.connections == 3


async def test_messages_at_the_same_time_have_a_connection_each(desk: Desk) -> None:
    script = ScriptedMilter()
    async with serving(script) as place:
        verdicts = await asyncio.gather(*(desk.run(f"milter:{place}") for _ in range(4)))
    assert verdicts == [Accept()] * 4
    assert script.connections == 4


async def test_unix_socket(desk: Desk, tmp_path: Path) -> None:
    async with serving(ScriptedMilter(), tmp_path / "m") as place:
        assert await desk.run(f"milter:{place}") == Accept()


BROKEN = {
    "not there": (None, "cannot be used: "),
    "closes at once": (ScriptedMilter({NEGOTIATION: None}), "that is no milter: it closed"),
    "greets like SMTP": (
        ScriptedMilter({NEGOTIATION: b"220 hello\r\n"}),
        "that is no milter: it sends a packet of 842149920 octets: b'220 hello",
    ),
    "empty packet": (ScriptedMilter({NEGOTIATION: number(0)}), "that is no milter"),
    "no negotiation": (ScriptedMilter({NEGOTIATION: CONTINUE}), "that is no milter: it begins"),
    "version 7": (
        ScriptedMilter(version=7),
        "it speaks version 7 of the milter protocol; this relay speaks the versions 2 to 6",
    ),
    "version 1": (ScriptedMilter(version=1), "it speaks version 1 of"),
    "unknown wishes": (ScriptedMilter(steps=0x40000000), "it wants more than was offered"),
    "torn list": (ScriptedMilter(lists=number(0) + b"j"), "its list of macros cannot be read"),
    "unknown stage": (ScriptedMilter(lists=number(9) + b"j\0"), "its list of macros"),
    "closes later": (ScriptedMilter({b"L": None}), "it closed the connection"),
    "closes at the end": (ScriptedMilter({b"E": None}), "it closed the connection"),
    "unknown answer": (ScriptedMilter({b"M": packet(b"!")}), "cannot be read: b'!'"),
    "change too early": (
        ScriptedMilter({b"M": packet(b"h", b"A\0b\0")}),
        "it asks for a change too early, at MAIL",
    ),
    "skips too early": (ScriptedMilter({b"M": packet(b"s")}), "it skips the body at MAIL"),
    "skips at the end": (ScriptedMilter(at_end=(packet(b"s"),)), "it skips the body after"),
    "fails": (ScriptedMilter(at_end=(packet(b"f"),)), "the milter fails"),
    "reply 250": (ScriptedMilter(at_end=(packet(b"y", b"250 ok\0"),)), "cannot be read"),
    "no reply": (ScriptedMilter(at_end=(packet(b"y", b"\0"),)), "cannot be read"),
    "no NUL": (ScriptedMilter(at_end=(packet(b"h", b"A\0b"),)), "cannot be read"),
    "no value": (ScriptedMilter(at_end=(packet(b"h", b"A\0"),)), "cannot be read"),
    "name with colon": (ScriptedMilter(at_end=(packet(b"h", b"A:\0b\0"),)), "cannot be read"),
    "name with CRLF": (ScriptedMilter(at_end=(packet(b"h", b"A\r\nB\0b\0"),)), "cannot be read"),
    "short index": (ScriptedMilter(at_end=(packet(b"i", b"\0"),)), "cannot be read"),
    "bad address": (
        ScriptedMilter(at_end=(packet(b"+", b"<a> <b@x>\0"), CONTINUE)),
        "it gives an address that is none",
    ),
    "control character": (
        ScriptedMilter(at_end=(packet(b"+", b"<a\1@x>\0"), CONTINUE)),
        "it gives an address that is none",
    ),
    "empty recipient": (
        ScriptedMilter(at_end=(packet(b"+", b"<>\0"), CONTINUE)),
        "it adds an empty recipient",
    ),
    "too many changes": (
        ScriptedMilter(at_end=(packet(b"h", b"A\0b\0") * (conversation.MOST_CHANGES + 1),)),
        "it asks for too many changes",
    ),
    "changes too large": (
        ScriptedMilter(at_end=(packet(b"h", b"A\0" + 60_000 * b"b" + b"\0") * 80,)),
        "it asks for too many changes",
    ),
    "packet too long": (ScriptedMilter(at_end=(number(2**31),)), "it sends a packet of"),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_message_waits_if_its_milter_misbehaves(desk: Desk, case: str) -> None:
    script, reason = BROKEN[case]
    copy = desk.copy()
    verdict = (
        await desk.run("milter:127.0.0.1:9", copy=copy)
        if script is None
        else await desk.ask(script, copy)
    )
    assert isinstance(verdict, BrokenFilter)
    assert reason in verdict.reason
    assert verdict.reply == Reply(452, "4.3.0 cannot process this message now")
    assert copy.content.read_bytes() == CONTENT


STEPS = [b"O", b"C", b"H", b"M", b"R", b"T", b"L", b"N", b"B", b"E"]


@pytest.mark.parametrize("step", STEPS)
async def test_message_waits_if_the_connection_ends_at_any_step(desk: Desk, step: bytes) -> None:
    for said in (b"", CONTINUE[:3], CONTINUE[:4], packet(b"h", b"A\0b\0")[:8]):
        script, copy = ScriptedMilter(answers={step: said}, ends_after=step), desk.copy()
        verdict = await desk.ask(script, copy)
        assert isinstance(verdict, BrokenFilter)
        assert "it closed the connection" in verdict.reason
        assert copy.content.read_bytes() == CONTENT


@pytest.mark.parametrize("step", STEPS)
async def test_message_waits_if_a_milter_sends_garbage_at_any_step(desk: Desk, step: bytes) -> None:
    chance = random.Random(step)  # noqa: S311 -- no secret
    for _ in range(10):
        said = chance.randbytes(chance.randrange(5, 200))
        script = ScriptedMilter(answers={step: said}, ends_after=step)
        verdict = await desk.ask(script)
        assert isinstance(verdict, BrokenFilter), said
        assert verdict.reply == Reply(452, "4.3.0 cannot process this message now")


class Dripping:
    """Sends the same octets again and again after the body, until the connection ends."""

    def __init__(self, octets: bytes, *, piece: int) -> None:
        self._octets, self._piece = octets, piece

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = ScriptedMilter({b"E": b""})
        working = asyncio.create_task(script(reader, writer))
        await script.until(b"E", 1)
        while not (writer.is_closing() or working.done()):
            for at in range(0, len(self._octets), self._piece):
                writer.write(self._octets[at : at + self._piece])
                await asyncio.wait((working,), timeout=0.002)
        working.cancel()


@pytest.mark.parametrize(
    "milter",
    [
        Dripping(packet(b"p"), piece=100),
        Dripping(packet(b"q", b"odd\0"), piece=100),
        Dripping(packet(b"b"), piece=100),
        Dripping(packet(b"h", b"A\0" + bytes(b"b" * 1000) + b"\0"), piece=1),
    ],
    ids=["progress", "quarantine", "empty body", "slow octets"],
)
async def test_milter_that_never_ends_is_left(desk: Desk, milter: Dripping) -> None:
    desk.programs.limits = ProgramLimits(timeout=0.05)
    copy = desk.copy()
    async with serving(milter) as place:
        verdict = await desk.run(f"milter:{place}", copy=copy)
    assert verdict == BrokenFilter(reason="no verdict within 0.05 s")
    assert copy.content.read_bytes() == CONTENT


async def test_new_body_has_a_limit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milter, "_ROOM", 1000)
    flood = packet(b"b", bytes(60_000)) * 3
    verdict = await desk.ask(ScriptedMilter(at_end=(flood, CONTINUE)))
    assert verdict == BrokenFilter(reason="its new body is too large")


async def test_silent_milter_has_a_time_limit_that_progress_extends(desk: Desk) -> None:
    desk.programs.limits = ProgramLimits(timeout=0.5)
    verdict = await desk.ask(ScriptedMilter({b"E": b""}))
    assert verdict == BrokenFilter(reason="no verdict within 0.5 s")

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = ScriptedMilter({b"E": b""})
        working = asyncio.create_task(script(reader, writer))
        await asyncio.wait((working,), timeout=0.05)
        for _ in range(8):
            writer.write(packet(b"p"))
            await asyncio.wait((working,), timeout=0.1)
        writer.write(CONTINUE)
        await asyncio.wait((working,))

    async with serving(slow) as place:
        assert await desk.run(f"milter:{place}") == Accept()


async def test_client_without_facts_is_this_host(desk: Desk) -> None:
    for envelope, connect in (
        (Envelope(Address("a@x.test"), to_remote=(BOB,)), b"localhost\x004\0\x00127.0.0.1\0"),
        (ENVELOPE._replace(client=""), b"[0.0.0.0]\x004\0\x000.0.0.0\0"),
        (ENVELOPE._replace(client="2001:db8::1"), b"[2001:db8::1]\x006\0\0IPv6:2001:db8::1\0"),
        (ENVELOPE._replace(client="::1"), b"localhost\x006\0\0IPv6:::1\0"),
        (ENVELOPE._replace(client="/run/s"), b"localhost\0L\0\0/run/s\0"),
        (ENVELOPE._replace(client="what"), b"localhost\0U\0"),
    ):
        script = ScriptedMilter()
        await desk.ask(script, desk.copy(envelope=envelope))
        assert script.told(b"C") == [connect]


async def test_check_of_the_settings_names_a_milter_that_cannot_serve() -> None:
    async with serving(ScriptedMilter(version=7)) as new, serving(ScriptedMilter()) as good:
        specs = [f"milter:{new}", f"milter:{good}", "milter:127.0.0.1:9"]
        found = await asyncio.to_thread(lambda: list(filters.check("filter", parse_chain(specs))))
    assert [finding.text for finding in found] == [
        (
            f"{new}: it speaks version 7 of the milter protocol; "
            "this relay speaks the versions 2 to 6; mail waits for it"
        ),
        found[1].text,
    ]
    assert found[1].text.startswith("127.0.0.1:9: cannot be reached")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("milter:", "needs host and port"),
        ("milter:8891", "needs host and port"),
        ("milter:localhost:smtp", "write the number of the port"),
        ("milter:localhost:70000", "the port must be a number from 1 to 65535"),
        ("mitler:localhost:25", "there is no kind 'mitler' of filter; it can be the path"),
    ],
)
def test_spec_that_names_no_milter(spec: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        parse_chain([spec])
    assert spec.partition(":")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("miltr:127.0.0.1:8891", "no kind 'miltr' of filter; it can be the path of a program"),
        ("milter:127.0.0.1", "needs host and port"),
        ("milter:", "needs host and port"),
    ],
)
def test_error_in_the_settings_file_names_the_line_and_the_choices(
    tmp_path: Path, spec: str, problem: str
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(f"filter_timeout = 5\nfilter = ['msgid:', '{spec}']\n")
    with pytest.raises(ConfigError) as caught:
        read(FilterdSettings, ["--config", str(file)], {})
    (text,) = caught.value.problems
    assert text.startswith(f"filter in {file}, line 2: ")
    assert problem in text
    assert ("milter:HOST:PORT, milter:/PATH" in text) is spec.startswith("miltr")
