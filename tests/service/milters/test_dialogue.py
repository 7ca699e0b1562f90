"""The dialogue with a milter: commands, macros and what it does not want."""

from pathlib import Path

import pytest
from tests.fakes.filter_servers import serving
from tests.fakes.milters import ScriptedMilter, number, packet
from tests.service.milters.milter_desk import BOB, CONTENT, ENVELOPE, Desk

from emailrelay.dsn_request import DsnRequest, Notify, RecipientRequest, Return
from emailrelay.envelope import Address, Envelope
from emailrelay.filters.milter import connection
from emailrelay.filters.verdict import Accept


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


async def test_macros_of_steps_that_it_does_not_want_come_too(desk: Desk) -> None:
    script = ScriptedMilter(steps=0x1 | 0x2 | 0x4 | 0x8)
    async with serving(script) as place:
        for _ in range(2):
            assert await desk.run(f"milter:{place}") == Accept()
    assert script.steps_heard == "OTLLNBE" + "ATLLNBE"
    stages = [data[:1] for data in script.told(b"D")]
    assert b"".join(stages) == b"CHMRRTNE" + b"MRRTNE"
    assert any(b"{auth_authen}\0alice\0" in data for data in script.told(b"D"))


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


@pytest.mark.parametrize("version", [2, 3, 4, 6])
async def test_milter_of_an_old_version_gets_no_data_command(desk: Desk, version: int) -> None:
    script = ScriptedMilter(version=version)
    if version < 4:
        script.answers[b"T"] = None  # it closes the connection at an unknown command
    assert await desk.ask(script) == Accept()
    assert script.steps_heard == ("OCHMRRLLNBE" if version < 4 else "OCHMRRTLLNBE")
    assert any(data.startswith(b"T") for data in script.told(b"D")) is (version >= 4)


async def test_values_keep_the_blank_if_the_milter_wants_it(desk: Desk) -> None:
    script = ScriptedMilter(steps=0x100000)
    await desk.ask(script)
    assert script.told(b"L") == [b"Subject\0 hello\0", b"X-Fold\0 one\n\ttwo\0"]


async def test_body_comes_in_pieces_and_the_rest_can_be_skipped(desk: Desk) -> None:
    content = b"Subject: big\r\n\r\n" + 150_000 * b"x"
    whole = ScriptedMilter()
    await desk.ask(whole, desk.copy(content))
    assert [len(data) for data in whole.told(b"B")] == [65_535, 65_535, 18_930, 2]
    skipping = ScriptedMilter(answers={b"B": packet(b"s")})
    assert await desk.ask(skipping, desk.copy(content)) == Accept()
    assert skipping.steps_heard == "OCHMRRTLNBE"


@pytest.mark.parametrize("step", [b"C", b"H", b"M", b"R", b"T", b"L", b"N"])
async def test_rest_of_a_step_can_be_skipped(
    desk: Desk, step: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = ScriptedMilter(answers={step: packet(b"s")})
    assert await desk.ask(script) == Accept()
    assert script.steps_heard == "OCHMRRTLLNBE"  # what went out together is answered all the same
    monkeypatch.setattr(connection, "_QUICK", None)
    script = ScriptedMilter(answers={step: packet(b"s")})
    async with serving(script) as place:
        for _ in range(2):
            assert await desk.run(f"milter:{place}") == Accept()
    whole = "OCHMRRTLLNBE" + "AMRRTLLNBE"
    twice = 2 * step.decode()
    assert script.steps_heard == whole.replace(twice, step.decode())


async def test_last_line_of_a_body_has_an_end(desk: Desk) -> None:
    for body in (b"no end", b"end\r\n", b"\r\n"):
        script = ScriptedMilter()
        await desk.ask(script, desk.copy(b"Subject: x\r\n\r\n" + body))
        assert b"".join(script.told(b"B")) == body.removesuffix(b"\r\n") + b"\r\n"


async def test_unix_socket(desk: Desk, tmp_path: Path) -> None:
    async with serving(ScriptedMilter(), tmp_path / "m") as place:
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
