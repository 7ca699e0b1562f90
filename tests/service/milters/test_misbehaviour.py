"""Milters that misbehave, are silent or never end."""

import asyncio
import random

import pytest
from tests.fakes.filter_servers import Serve, serving
from tests.fakes.milters import CONTINUE, ScriptedMilter, number, packet
from tests.service.enough_time import with_enough_time
from tests.service.milters.milter_desk import CONTENT, Desk

from emailrelay.filters.milter import conversation, milter
from emailrelay.filters.program import ProgramLimits
from emailrelay.filters.verdict import Accept, BrokenFilter, Reject
from emailrelay.reply import Reply

NEGOTIATION = b"O"
BROKEN = {
    "not there": (None, "cannot be used: "),
    "closes at once": (ScriptedMilter({NEGOTIATION: None}), "this is not a milter: it closed"),
    "greets like SMTP": (
        ScriptedMilter({NEGOTIATION: b"220 hello\r\n"}),
        "this is not a milter: it sends a packet of 842149920 octets: b'220 hello",
    ),
    "empty packet": (ScriptedMilter({NEGOTIATION: number(0)}), "this is not a milter"),
    "no negotiation": (ScriptedMilter({NEGOTIATION: CONTINUE}), "this is not a milter: it begins"),
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


HEADERS = [70_000 * b"X" + b": v\r\n", (b"X: " + 1000 * b"v" + b"\r\n") * 5000]


@pytest.mark.parametrize("header", HEADERS)
async def test_header_that_no_milter_can_get_is_refused_for_good(desk: Desk, header: bytes) -> None:
    verdict = await desk.ask(ScriptedMilter(), desk.copy(header + b"\r\nbody\r\n"))
    assert isinstance(verdict, Reject)
    assert verdict.reply == Reply(552, "5.3.4 header too long")


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

    async def attempt(seconds: float) -> bool:
        desk.programs.limits = ProgramLimits(timeout=seconds)
        async with serving(_progress_for(2 * seconds, every=seconds / 5)) as place:
            return await desk.run(f"milter:{place}") == Accept()

    await with_enough_time(attempt)


def _progress_for(seconds: float, *, every: float) -> Serve:
    """Make a milter that tells of progress for so long before it answers."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = ScriptedMilter({b"E": b""})
        working = asyncio.create_task(script(reader, writer))
        await script.until(b"E", 1)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            writer.write(packet(b"p"))
            await asyncio.wait((working,), timeout=every)
        writer.write(CONTINUE)
        await asyncio.wait((working,))

    return slow
