"""Recovery by one opener never touches the work of another."""

import asyncio
import fcntl
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, claimed, put, stages

from emailrelay.ack import Ack
from emailrelay.events.store import Recovered
from emailrelay.stage import Stage
from emailrelay.store.spool.message.spool import open_spool
from emailrelay.store.spool.opening.recovery import Recovery


@contextmanager
def endless_sweeps(spool: SpoolOpener) -> Generator[None]:
    """Open and close the store in another thread, again and again."""
    stop = threading.Event()

    async def open_and_close() -> None:
        while not stop.is_set():
            async with spool():
                pass

    sweeper = threading.Thread(target=lambda: asyncio.run(open_and_close()))
    sweeper.start()
    try:
        yield
    finally:
        stop.set()
        sweeper.join()


async def test_endless_sweeps_by_others_cost_no_draft(spool: SpoolOpener) -> None:
    async with spool() as store:
        with endless_sweeps(spool):
            messages = [await put(store) for _ in range(400)]
        assert await stages(store) == dict.fromkeys(messages, Stage.READY)
    assert spool.reports == []


async def test_endless_sweeps_by_others_refuse_no_client_who_waits(spool: SpoolOpener) -> None:
    async with spool() as store:
        with endless_sweeps(spool):
            for _ in range(400):
                async with store.draft(ENVELOPE) as draft:
                    draft.write(b"Subject: x\r\n\r\nx\r\n")
                    await draft.commit(Stage.READY, Ack.DELIVERED)
    assert spool.reports == []


async def _orphan(spool: SpoolOpener) -> Path:
    async with spool() as store:
        message = await put(store)
    (spool.directory / f"emailrelay.{message}.envelope").unlink()
    return spool.directory / f"emailrelay.{message}.content"


def _in_an_hour() -> float:
    return time.time() + 3601


async def test_orphan_goes_an_hour_after_it_got_its_name(
    spool: SpoolOpener,
) -> None:
    content = await _orphan(spool)
    async with spool():
        assert content.exists()
    async with spool(_in_an_hour):
        assert not content.exists()
    assert [event.what for event in spool.reports if isinstance(event, Recovered)] == [
        "content without envelope removed"
    ]


async def test_content_of_another_program_stays(spool: SpoolOpener) -> None:
    await _orphan(spool)
    content = spool.directory / "emailrelay.not-ours.content"
    content.write_bytes(b"x")
    async with spool(_in_an_hour):
        assert content.exists()


@pytest.mark.parametrize("ending", [".new", ".busy", ".saved", ".bad.1", ".hold"])
async def test_content_stays_whatever_its_envelope_is_called(
    spool: SpoolOpener, ending: str
) -> None:
    content = await _orphan(spool)
    envelope = content.with_name(content.name.replace(".content", f".envelope{ending}"))
    envelope.write_bytes(b"x")
    async with spool(_in_an_hour):
        assert content.exists()


async def test_content_stays_whose_envelope_is_yet_to_follow(spool: SpoolOpener) -> None:
    """Its writer was stopped between the two renames, and still exists."""
    content = await _orphan(spool)
    drafted = content.parent / ".new" / content.name.replace(".content", ".envelope")
    drafted.write_bytes(b"x")
    with drafted.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with spool(_in_an_hour):
            assert content.exists()


async def test_adoption_whose_directory_is_left_is_ended_by_a_later_sweep(
    spool: SpoolOpener,
) -> None:
    async with spool() as store:
        message = await put(store)
        opened = open_spool(spool.directory, spool.reports.append, time.time)
        left = spool.directory / ".work" / f"{message}.adopt"
        left.mkdir(mode=0o700)
        async with await claimed(store, message):  # a forwarder works on it
            Recovery(opened).sweep()
            assert left.exists()
        Recovery(opened).sweep()
        assert not left.exists()
        opened.announcer.close()
        opened.close()
