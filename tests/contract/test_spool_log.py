"""A spool's log: its records are true after a power cut, with any of the files on the disk."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener
from tests.contract.mail import (
    ANN,
    BOB,
    CAT,
    ENVELOPE,
    LATER,
    NEVER,
    OK,
    attempt,
    claimed,
    content_of,
    history_of,
    listed,
    put,
    stages,
)
from tests.contract.played_cut import BODY, Cut, cut, everything, nothing, put_log

from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done, Fail
from emailrelay.stage import Stage


def files_of(message: QueueId, spool: SpoolOpener) -> list[str]:
    return sorted(path.name for path in spool.directory.rglob(f"*{message}*"))


async def test_message_is_there_when_none_of_its_files_are(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        after = cut(logged_spool)
    async with after() as store:
        assert await stages(store) == {message: Stage.UNFILTERED}
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            assert (claim.envelope, await content_of(claim)) == (ENVELOPE, BODY)
    assert (after.directory / f"emailrelay.{message}.content").stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("damaged", ["content", "envelope"])
@pytest.mark.parametrize("octets", [b"", b"\0" * 700, b"X-MailRelay-Format: #2821.8\r\n"])
async def test_half_written_files_are_made_whole(
    logged_spool: LoggedSpoolOpener, damaged: str, octets: bytes
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        after = cut(logged_spool, everything)
    (after.directory / f"emailrelay.{message}.{damaged}").write_bytes(octets)
    async with after() as store:
        async with await claimed(store, message) as claim:
            assert (claim.envelope, await content_of(claim)) == (ENVELOPE, BODY)
        assert files_of(message, after) == [
            f"emailrelay.{message}.content",
            f"emailrelay.{message}.envelope",
        ]


async def test_draft_that_came_back_harms_nothing(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        after = cut(logged_spool)
    drafts = after.directory / ".new"
    (drafts / f"emailrelay.{message}.envelope").write_bytes(b"")
    (drafts / f"emailrelay.{message}.content").write_bytes(b"Subj")
    async with after() as store:
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == BODY
        assert list(drafts.iterdir()) == []


@pytest.mark.parametrize("kept", [nothing, everything])
async def test_delivered_message_does_not_come_back(
    logged_spool: LoggedSpoolOpener, kept: Callable[[Path], bool]
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        before = cut(logged_spool, kept)
        async with await claimed(store, message) as claim:
            await claim.settle(Done())
        after = cut(logged_spool)
    # The files as before the removal, which has not come to the disk; the log as after it.
    put_log(after, before)
    async with before() as store:
        assert await stages(store) == {}
    assert files_of(message, before) == []


@pytest.mark.parametrize("kept", [nothing, everything])
async def test_recipient_recorded_as_delivered_stays_so(
    logged_spool: LoggedSpoolOpener, kept: Callable[[Path], bool]
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        before = cut(logged_spool, kept)
        async with await claimed(store, message) as claim:
            now = claim.history.accepted_at or 0.0
            partly = attempt(now, next_attempt=now + 60, ann=OK, bob=LATER)
            await claim.settle(Defer(partly))
        after = cut(logged_spool)
    put_log(after, before)
    async with before() as store:
        history = await history_of(store, message)
        assert history.delivered == {ANN: OK}
        assert history.pending(ENVELOPE) == (BOB, CAT)
        assert await stages(store) == {message: Stage.READY}


@pytest.mark.parametrize("kept", [nothing, everything])
async def test_failed_message_stays_failed(
    logged_spool: LoggedSpoolOpener, kept: Callable[[Path], bool]
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        async with await claimed(store, message) as claim:
            await claim.settle(Fail(NEVER))
        after = cut(logged_spool, kept)
    envelope = after.directory / f"emailrelay.{message}.envelope.bad"
    if envelope.exists():  # the rename has not come to the disk
        envelope.rename(envelope.with_suffix(""))
    async with after() as store:
        assert await stages(store) == {message: Stage.FAILED}
        failed = (await history_of(store, message)).failed
        assert failed is not None
        assert failed.reason == NEVER


async def test_replay_may_be_done_again_and_again(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        gone, failed, ready = [await put(store, BODY) for _ in range(3)]
        async with await claimed(store, gone) as claim:
            await claim.settle(Done())
        async with await claimed(store, failed) as claim:
            await claim.settle(Fail(NEVER))
        after = cut(logged_spool)
    log = after.directory.parent / "log"
    shutil.copytree(after.directory / ".wal", log)
    expected = {failed: Stage.FAILED, ready: Stage.READY}
    seen: list[dict[str, bytes]] = []
    for _ in range(3):
        async with after() as store:
            assert await stages(store) == expected
        seen.append({p.name: p.read_bytes() for p in after.directory.glob("emailrelay.*")})
        shutil.rmtree(after.directory / ".wal")
        shutil.copytree(log, after.directory / ".wal")
    assert seen[0] == seen[1] == seen[2]


def _cut_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Have the power go at one of the next calls to the system; tells whether it did."""
    calls = 0

    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls >= step:
                raise Cut
            return real(*args, **kwargs)

        return call

    for name in ("open", "write", "pwrite", "fsync", "fdatasync", "rename", "unlink"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    return lambda: calls >= step


async def test_power_may_go_at_every_step_of_a_replay(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with logged_spool() as store:
        gone, failed, ready = [await put(store, BODY) for _ in range(3)]
        half = cut(logged_spool, everything)
        async with await claimed(store, gone) as claim:
            await claim.settle(Done())
        async with await claimed(store, failed) as claim:
            await claim.settle(Fail(NEVER))
        after = cut(logged_spool)
    put_log(after, half)
    (half.directory / f"emailrelay.{ready}.content").write_bytes(b"")
    (half.directory / f"emailrelay.{failed}.envelope").unlink()
    kept = half.directory.parent / "kept"
    half.directory.rename(kept)
    half = SpoolOpener(half.directory.parent)  # it makes no new log: the replay is what matters
    for step in range(1, 200):
        shutil.copytree(kept, half.directory)
        with monkeypatch.context() as power:
            went = _cut_at(step, power)
            try:
                async with half():
                    pass
            except Cut:
                pass
        async with half() as store:
            assert await stages(store) == {failed: Stage.FAILED, ready: Stage.READY}, step
            async with await claimed(store, ready) as claim:
                assert await content_of(claim) == BODY
        shutil.rmtree(half.directory)
        if not went():
            break
    else:
        pytest.fail("a replay does not end")
    assert step > 20


async def test_torn_batch_is_none_and_harms_no_other(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        first, torn, last = [await put(store, BODY * 300) for _ in range(3)]
        after = cut(logged_spool)
    (log,) = (after.directory / ".wal").glob("*.log")
    octets = bytearray(log.read_bytes())
    place = octets.index(torn.encode()) + 5000
    octets[place] ^= 1
    log.write_bytes(octets)
    async with after() as store:
        assert set(await listed(store)) == {first, last}
        async with await claimed(store, last) as claim:
            assert await content_of(claim) == BODY * 300


async def test_batch_in_a_message_is_none(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        after = cut(logged_spool)
    (log,) = (after.directory / ".wal").glob("*.log")
    batch = log.read_bytes()[4096:8192]
    async with logged_spool() as store:
        carrier = await put(store, batch * 8)
        again = cut(logged_spool)
    async with again() as store:
        assert set(await listed(store)) == {carrier}
        assert message not in await listed(store)


async def test_hold_by_hand_outlives_the_cut(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        envelope = logged_spool.directory / f"emailrelay.{message}.envelope"
        envelope.rename(f"{envelope}.hold")
        after = cut(logged_spool, everything)
    async with after() as store:
        assert await stages(store) == {message: Stage.HELD}


async def test_what_the_operator_did_later_stays(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        held, again, deleted = [await put(store, BODY) for _ in range(3)]
        async with await claimed(store, again) as claim:
            await claim.settle(Fail(NEVER))
        assert await store.hold(held)
        assert await store.retry(again)
        assert await store.delete(deleted)
        after = cut(logged_spool, everything)
    async with after() as store:
        assert await stages(store) == {held: Stage.HELD, again: Stage.READY}
        assert (await history_of(store, again)).failed is None
