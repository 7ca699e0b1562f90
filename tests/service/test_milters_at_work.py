"""Milters in filterd and in the forwarder: kills in the dialogue, and milters as client filters."""

import asyncio
import errno
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.filter_servers import serving
from tests.fakes.milters import CONTINUE, ScriptedMilter, packet
from tests.fakes.smtp_peer import SmtpPeer
from tests.service.filterd.filter_bench import CONTENT, DEADLINE, Bench
from tests.service.filterd.test_process import start
from tests.service.filterd.test_verdicts import refusing
from tests.service.forwarding import Office

from emailrelay.bounces.failures import failures
from emailrelay.events.filters import FilterHeld, FilterTrouble
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.spec import parse_chain
from emailrelay.filters.verdict import Side
from emailrelay.reply import Reply
from emailrelay.settlement import Done, Fail, Hold
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay.store.spool.message import claim
from emailrelay_forwarder.delivery.client_filter import ClientFilters

QUARANTINE = (packet(b"q", b"odd\0"), packet(b"h", b"X-A\0v\0"), CONTINUE)
WHO = Reply(550, "5.1.1 who")


@pytest.mark.parametrize("step", [b"R", b"E"])
async def test_filterd_killed_in_the_dialogue_loses_nothing(tmp_path: Path, step: bytes) -> None:
    spool = tmp_path / "spool"
    script = ScriptedMilter({step: b""}, at_end=QUARANTINE)
    async with (
        open_store(spool, report=lambda _event: None) as store,
        serving(script) as place,
    ):
        bench = Bench(store, tmp_path, [])
        message = await bench.put()
        first = await start(spool, f"milter:{place}")
        async with asyncio.timeout(DEADLINE):
            await script.until(step, 1)
        first.send_signal(signal.SIGKILL)
        await first.wait()
        assert await bench.stage(message) is Stage.UNFILTERED
        script.answers.clear()
        second = await start(spool, f"milter:{place}")
        await bench.moved_to(message, Stage.HELD)
        second.kill()
        await second.wait()
        assert [each.id async for each in store.listing()] == [message]
        assert await store.retry(message)
        content = await bench.content(message, Stage.READY)
        assert content == CONTENT.replace(b"\r\n\r\n", b"\r\nX-A: v\r\n\r\n", 1)


ADDS = (packet(b"h", b"X-A\0v\0"), CONTINUE)


NEW_BODY = (packet(b"b", b"new\r\n"), CONTINUE)


async def test_message_is_copied_only_for_a_new_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(claim, "make_copy", no_room)
    script = ScriptedMilter()
    async with (
        open_store(tmp_path / "spool", report=lambda _event: None) as store,
        serving(script) as place,
    ):
        bench = Bench(store, tmp_path, [])
        async with bench.filterd(f"milter:{place}", f"milter:{place}"):
            message = await bench.put()
            await bench.moved_to(message, Stage.READY)
            script.at_end = ADDS
            changed = await bench.put()
            await bench.moved_to(changed, Stage.READY)
            content = await bench.content(changed, Stage.READY)
            script.at_end = NEW_BODY
            await bench.put()
            (trouble,) = await bench.after(FilterTrouble)
    assert isinstance(trouble, FilterTrouble)
    assert trouble.filter == "work copy"
    assert content == CONTENT.replace(b"\r\n\r\n", b"\r\nX-A: v\r\nX-A: v\r\n\r\n", 1)


async def test_filters_behind_a_milter_get_its_changes(tmp_path: Path) -> None:
    script = ScriptedMilter(at_end=ADDS)
    async with (
        open_store(tmp_path / "spool", report=lambda _event: None) as store,
        serving(script) as place,
    ):
        bench = Bench(store, tmp_path, [])
        program = bench.script('grep -q "^X-A: v" "$1"')
        async with bench.filterd(f"milter:{place}", f"milter:{place}", program):
            message = await bench.put()
            await bench.moved_to(message, Stage.READY)
        content = await bench.content(message, Stage.READY)
    assert content == CONTENT.replace(b"\r\n\r\n", b"\r\nX-A: v\r\nX-A: v\r\n\r\n", 1)
    assert (b"X-A\0 v\0" in script.told(b"L")) or (b"X-A\0v\0" in script.told(b"L"))


@asynccontextmanager
async def forwarding_with(script: ScriptedMilter, peer: SmtpPeer) -> AsyncGenerator[Office]:
    """Give a forwarder with a milter as its client filter."""
    async with serving(script) as place, Programs(ProgramLimits(timeout=DEADLINE)) as programs:
        chain = Chain(filters=parse_chain([f"milter:{place}"]), side=Side.CLIENT, programs=programs)
        office = Office(peer.address, filters=ClientFilters(chain, asyncio.Semaphore(4)))
        yield office
        await office.forwarding.close()


async def test_client_filter_holds_a_message_until_it_is_released() -> None:
    script = ScriptedMilter(at_end=QUARANTINE)
    async with SmtpPeer() as peer, forwarding_with(script, peer) as office:
        message = await office.put("a@t")
        settlement = await office.forward(message)
        assert isinstance(settlement, Hold)
        assert settlement.reason.endswith(": odd")
        (told,) = office.events(FilterHeld)
        assert told.reason == settlement.reason
        found = await office.store.describe(message)
        assert found is not None
        assert (found[0], found[2].held_for) == (Stage.HELD, settlement.reason)
        assert not peer.messages
        assert await office.store.retry(message)
        assert isinstance(await office.forward(message), Done)
        (sent,) = peer.messages
        assert b"X-A: v\r\n" in sent.content


async def test_client_filter_refuses_a_recipient_and_the_others_get_the_message() -> None:
    async with SmtpPeer() as peer, forwarding_with(refusing(b"<b@"), peer) as office:
        message = await office.put("b@t", "c@t")
        assert isinstance(await office.forward(message), Fail)
        assert [sent.recipients for sent in peer.messages] == [[b"c@t"]]
        found = await office.store.describe(message)
        assert found is not None
        stage, envelope, history = found
        assert stage is Stage.FAILED
        (told,) = failures(envelope, history)
        assert (told.recipient, told.reply) == ("b@t", WHO)
