"""Files that other programs, and administrators, put into a spool directory."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.foreign_files import NOW_FORMAT, foreign, names
from tests.contract.mail import (
    NEVER,
    Clock,
    can_claim,
    claimed,
    content_of,
    history_of,
    listed,
    next_of,
    put,
    stages,
)

from emailrelay.events.store import PossibleDuplicate, SetAside
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done, Fail, Pass
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files, locks, regular_files
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.feed import lately_given


@pytest.mark.parametrize("new_first", [True, False])
def test_the_two_ways_to_take_the_lock_exclude_each_other(
    tmp_path: Path, *, new_first: bool
) -> None:
    first, second = locks.try_lock_new, locks.try_lock
    if not new_first:
        first, second = second, first
    one = files.create(Directory(str(tmp_path)) / "envelope")
    other = regular_files.open_regular(Directory(str(tmp_path)) / "envelope")
    assert other is not None
    assert first(one)
    assert not second(other)
    locks.unlock(one)
    assert second(other)
    assert not first(one)
    os.close(one)
    os.close(other)


async def test_envelope_that_gets_its_name_during_a_look_for_it_is_no_damage(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = QueueId("1700000000.1.1")
    envelope = spool.directory / f"emailrelay.{message}.envelope.filter"
    opened = files.opened

    def moved_in_behind_it(at: Location, flags: int, mode: int = 0) -> int:
        try:
            return opened(at, flags, mode)
        except FileNotFoundError:
            envelope.touch()
            raise

    async with spool() as store:
        monkeypatch.setattr(files, "opened", moved_in_behind_it)
        assert await store.journal(message) is None


async def test_another_programs_message_is_taken_as_it_is(spool: SpoolOpener) -> None:
    async with spool() as store, store.feed(Stage.READY) as feed:
        message = foreign(spool)
        async with await next_of(feed) as claim:
            assert claim.id == message
            assert claim.envelope.sender == "a@x.test"
            assert claim.envelope.to_remote == ("b@y.test",)
            assert claim.history.accepted_at is None
            assert await content_of(claim) == b"Subject: x\r\n\r\n"
            await claim.settle(Done())
        assert names(spool) == set()


@pytest.mark.parametrize("name", ["x", "1.2.3.4", "my-script", "0000000001"])
async def test_any_name_of_the_pattern_is_a_message(spool: SpoolOpener, name: str) -> None:
    async with spool() as store:
        message = foreign(spool, name)
        assert await stages(store) == {message: Stage.READY}
        assert await can_claim(store, message)


async def test_another_programs_unfiltered_message_passes(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = foreign(spool, suffix=".filter")
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            await claim.settle(Pass())
        assert await can_claim(store, message)


async def test_another_programs_draft_is_left_alone(spool: SpoolOpener) -> None:
    async with spool():
        foreign(spool, suffix=".new")
        before = names(spool)
    async with spool() as store:
        assert await listed(store) == {}
        assert names(spool) == before


@pytest.mark.parametrize(
    ("age", "locked", "taken"), [(3600, False, True), (3600, True, False), (1, False, False)]
)
async def test_claim_of_the_old_program_is_taken_over_when_old_and_unlocked(
    spool: SpoolOpener, *, age: int, locked: bool, taken: bool
) -> None:
    clock = Clock()
    async with spool(clock):
        message = foreign(spool, suffix=".busy")
    busy = spool.directory / "emailrelay.1.2.3.envelope.busy"
    os.utime(busy, (clock.now - age, clock.now - age))
    with busy.open("rb") as held:
        if locked:
            fcntl.flock(held, fcntl.LOCK_EX)
        async with spool(clock) as store:
            assert await stages(store) == ({message: Stage.READY} if taken else {})
            told = [e.id for e in spool.reports if isinstance(e, PossibleDuplicate)]
            assert told == ([message] if taken else [])
            assert await can_claim(store, message) == taken


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _symlink(path: Path) -> None:
    target = path.parent / "elsewhere"
    target.write_bytes(NOW_FORMAT)
    path.symlink_to(target)


def _dangling(path: Path) -> None:
    path.symlink_to("/nonexistent/file")


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _hard_link(path: Path) -> None:
    target = path.parent / "elsewhere"
    target.write_bytes(NOW_FORMAT)
    path.hardlink_to(target)


@pytest.mark.parametrize("make", [_fifo, Path.mkdir, _symlink, _dangling, _loop, _hard_link])
@pytest.mark.parametrize("end", ["envelope", "envelope.filter", "envelope.busy", "content"])
async def test_thing_that_is_no_file_holds_nothing_up(
    spool: SpoolOpener, make: Callable[[Path], None], end: str
) -> None:
    async with spool():
        make(spool.directory / f"emailrelay.1.2.3.{end}")
    async with spool() as store, store.feed(Stage.READY) as feed:
        message = await put(store)
        async with await next_of(feed) as claim:
            assert claim.id == message
            await claim.settle(Done())
        for stage in Stage:
            assert not await can_claim(store, QueueId("1.2.3"), stage)
        assert f"emailrelay.1.2.3.{end}" in names(spool)


DAMAGE = {
    "empty": b"",
    "garbage": b"\x00\xff garbage",
    "cut short": NOW_FORMAT[:-20],
    "unknown format": NOW_FORMAT.replace(b"#2821.8", b"#2821.9"),
}


@pytest.mark.parametrize("octets", DAMAGE.values(), ids=DAMAGE.keys())
async def test_damaged_envelope_is_set_aside_once_and_others_go_on(
    spool: SpoolOpener, octets: bytes
) -> None:
    async with spool() as store:
        damaged = foreign(spool, envelope=octets)
        good = await put(store)
        async with store.feed(Stage.READY) as feed, await next_of(feed) as claim:
            assert claim.id == good
            assert not await can_claim(store, damaged)
            assert await stages(store) == {damaged: Stage.FAILED, good: Stage.READY}
        assert [e.id for e in spool.reports if isinstance(e, SetAside)] == [damaged]
        octets_after = (spool.directory / f"emailrelay.{damaged}.envelope.bad").read_bytes()
        assert octets_after.startswith(octets)
        assert b"X-MailRelay-Reason: 5.6.0 " in octets_after
        assert b"X-MailRelay-ReasonCode: 550" in octets_after


async def test_message_without_content_is_set_aside(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = foreign(spool, content=None)
        assert not await can_claim(store, message)
        history = await history_of(store, message)
        assert history.failed is not None
        assert "content" in history.failed.reason.text


async def test_content_of_another_length_than_accepted_is_set_aside(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = await put(store, b"Subject: x\r\n\r\nlong\r\n")
        os.truncate(spool.directory / f"emailrelay.{message}.content", 5)
        assert not await can_claim(store, message)
        assert await stages(store) == {message: Stage.FAILED}
        # An administrator who puts it back by hand has looked at it.
        bad = spool.directory / f"emailrelay.{message}.envelope.bad"
        bad.rename(bad.with_suffix(""))
        async with await claimed(store, message) as claim:
            assert claim.size == 5


async def test_failed_message_renamed_by_hand_is_tried_again_from_the_start(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without file events a scan finds it, and puts off what was handed out lately. This clock
    # stands, so that would last for ever.
    monkeypatch.setattr(lately_given, "REST", 0.0)
    clock = Clock()
    async with spool(clock) as store, store.feed(Stage.READY) as feed:
        message = await put(store)
        async with await next_of(feed) as claim:
            await claim.settle(Fail(NEVER))
        clock.now += 10_000_000
        bad = spool.directory / f"emailrelay.{message}.envelope.bad"
        bad.rename(bad.with_suffix(""))
        async with await next_of(feed) as claim:
            assert claim.id == message
            assert (claim.history.attempts, claim.history.started_at) == (0, clock.now)
            assert claim.history.failed is None


async def test_ready_name_over_an_unfiltered_journal_goes_to_the_filters(
    spool: SpoolOpener,
) -> None:
    async with spool() as store:
        message = await put(store, stage=Stage.UNFILTERED)
        envelope = spool.directory / f"emailrelay.{message}.envelope.filter"
        envelope.rename(envelope.with_suffix(""))
        assert not await can_claim(store, message)
        assert await stages(store) == {message: Stage.UNFILTERED}
        assert await can_claim(store, message, Stage.UNFILTERED)


async def test_message_moved_by_hand_while_claimed_is_settled_where_it_is(
    spool: SpoolOpener,
) -> None:
    async with spool() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            envelope = spool.directory / f"emailrelay.{message}.envelope"
            envelope.rename(envelope.with_suffix(".envelope.hold"))
            await claim.settle(Done())
        assert names(spool) == set()
