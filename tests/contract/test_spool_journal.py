"""Journals that would grow without end, and envelope files that are rewritten."""

import os

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, OK, Clock, can_claim, claimed, history_of, put, stages
from tests.contract.played_cut import cut, everything

from emailrelay import journal_format
from emailrelay.envelope import Address
from emailrelay.journal import AdministratorWish, Attempt, Wished
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Defer
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.spool.message import rewriting

MANY = tuple(Address(f"{n}@x.test") for n in range(1000))
FEW = MANY[:3]
LONG = "4.7.1 " + "wait " * 95


def _envelope_of(spool: SpoolOpener, message: QueueId) -> int:
    return (spool.directory / f"emailrelay.{message}.envelope").stat().st_size


async def _deferred(store: Store, message: QueueId, clock: Clock, tries: int) -> None:
    """Make this many tries; each recipient gets another reply each time."""
    for n in range(tries):
        async with await claimed(store, message) as claim:
            pending = claim.history.pending(claim.envelope)
            replies = {who: Reply.of(451, f"{n} {who} {LONG}") for who in pending}
            if n == 0:
                replies[pending[0]] = OK
            clock.now += 1
            await claim.settle(Defer(Attempt(at=clock.now, peer="p", replies=replies)))


async def test_journal_of_many_recipients_does_not_grow_without_end(spool: SpoolOpener) -> None:
    clock = Clock()
    async with spool(clock) as store:
        message = await put(store, envelope=ENVELOPE._replace(to_remote=MANY))
        accepted = (await history_of(store, message)).accepted_at
        await _deferred(store, message, clock, 12)
        size = _envelope_of(spool, message)
        assert size < rewriting.LONG + 1200 * 1024
        history = await history_of(store, message)
        assert history.attempts == 12
        assert history.accepted_at == accepted
        assert history.delivered == {MANY[0]: OK}
        assert await stages(store) == {message: Stage.READY}
        assert list((spool.directory / ".work").iterdir()) == []


async def test_shortened_journal_is_what_a_replay_finds(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "LONG", 4096)
    clock = Clock()
    async with spool(clock) as store:
        message = await put(store, envelope=ENVELOPE._replace(to_remote=FEW))
        await _deferred(store, message, clock, 30)
        assert _envelope_of(spool, message) < 16 * 1024
        assert await store.hold(message)  # which leaves no line in a log
        told = await history_of(store, message)
        after = cut(spool, everything)
    async with after() as store:
        assert await stages(store) == {message: Stage.HELD}
        assert await history_of(store, message) == told


async def test_envelope_past_all_bounds_goes_on(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal as earlier versions wrote it."""
    clock = Clock()
    async with spool(clock) as store:
        message = await put(store, envelope=ENVELOPE._replace(to_remote=FEW))
        await _deferred(store, message, clock, 30)
        monkeypatch.setattr("emailrelay.store.spool.disk.file_octets.LARGEST_ENVELOPE", 16 * 1024)
        monkeypatch.setattr(rewriting, "LONG", 16 * 1024)
        async with await claimed(store, message) as claim:
            assert claim.history.attempts == 30
            assert claim.history.delivered == {FEW[0]: OK}
            assert claim.envelope.recipients == FEW


async def test_wish_made_while_a_journal_is_shortened_is_granted(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with spool(clock) as store:
        message = await put(store, envelope=ENVELOPE._replace(to_remote=FEW))
        await _deferred(store, message, clock, 30)
        path = spool.directory / f"emailrelay.{message}.envelope"
        wish = journal_format.write(Wished(at=clock.now, wish=AdministratorWish.HOLD))
        sync = os.fdatasync

        def wished(descriptor: int) -> None:
            sync(descriptor)
            monkeypatch.setattr("os.fdatasync", sync)
            with path.open("ab") as envelope:
                envelope.write(wish)

        monkeypatch.setattr(rewriting, "LONG", 4096)
        monkeypatch.setattr("os.fdatasync", wished)
        assert await store.claim(Stage.READY, message) is None
        assert await stages(store) == {message: Stage.HELD}


async def test_envelope_that_can_be_shortened_no_further_stays(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "LONG", 0)
    async with spool() as store:
        message = await put(store)
        inode = (spool.directory / f"emailrelay.{message}.envelope").stat().st_ino
        assert await can_claim(store, message)
        assert (spool.directory / f"emailrelay.{message}.envelope").stat().st_ino == inode


async def test_failed_message_of_any_length_can_be_retried(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with spool(clock) as store:
        message = await put(store, envelope=ENVELOPE._replace(to_remote=FEW))
        await _deferred(store, message, clock, 30)
        assert await store.fail(message)
        monkeypatch.setattr("emailrelay.store.spool.disk.file_octets.LARGEST_ENVELOPE", 16 * 1024)
        monkeypatch.setattr(rewriting, "LONG", 16 * 1024)
        assert await store.retry(message)
        async with await claimed(store, message) as claim:
            assert claim.history.pending(claim.envelope) == FEW[1:]


async def test_envelope_that_a_dead_process_was_making_is_removed(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = await put(store)
    left = spool.directory / ".work" / f"{message}.new"
    left.mkdir()
    (left / f"emailrelay.{message}.envelope").write_bytes(b"X-MailRelay-Format: ")
    async with spool() as store:
        assert not left.exists()
        assert await can_claim(store, message)
