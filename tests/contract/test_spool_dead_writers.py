"""Drafts of dead writers go forward or go away; those of living writers stay."""

import zlib

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.foreign_files import NOW_FORMAT, names
from tests.contract.mail import (
    ENVELOPE,
    can_claim,
    listed,
    put,
    stages,
)

from emailrelay import journal_format
from emailrelay.acceptance import Accepted
from emailrelay.events.store import Recovered
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import locks


async def test_incomplete_draft_of_a_dead_writer_goes_at_the_next_opening(
    spool: SpoolOpener,
) -> None:
    async with spool():
        pass
    drafts = spool.directory / ".new"
    (drafts / "emailrelay.1700000000000.5.1.envelope").write_bytes(NOW_FORMAT)
    (drafts / "emailrelay.1700000000000.5.1.content").write_bytes(b"half")
    (drafts / "emailrelay.1700000000000.5.2.content").write_bytes(b"alone")
    async with spool() as store:
        assert list(drafts.iterdir()) == []
        assert await listed(store) == {}
        assert [e.id for e in spool.reports if isinstance(e, Recovered)] == ["1700000000000.5.1"]


@pytest.mark.parametrize(("content", "whole"), [(b"whole", True), (b"", False), (b"whale", False)])
@pytest.mark.parametrize("moved", [False, True])
async def test_draft_of_a_dead_writer_goes_forward_if_its_content_is_what_was_accepted(
    spool: SpoolOpener, content: bytes, *, whole: bool, moved: bool
) -> None:
    async with spool():
        pass
    accepted = Accepted(at=1.7e9, stage=Stage.UNFILTERED, length=5, crc32=zlib.crc32(b"whole"))
    message = QueueId("1700000000000.5.1")
    envelope = spool.directory / ".new" / f"emailrelay.{message}.envelope"
    envelope.write_bytes(NOW_FORMAT + journal_format.write(accepted))
    directory = spool.directory if moved else spool.directory / ".new"
    (directory / f"emailrelay.{message}.content").write_bytes(content)
    async with spool() as store:
        assert await stages(store) == ({message: Stage.UNFILTERED} if whole else {})
        assert len(names(spool)) == (2 if whole else 0)
        assert list((spool.directory / ".new").iterdir()) == []


async def test_lock_on_a_file_that_has_just_been_moved_is_void(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store)
        envelope = spool.directory / f"emailrelay.{message}.envelope"
        real = locks.try_lock

        def lock_late(descriptor: int) -> bool:
            envelope.rename(envelope.with_suffix(".envelope.hold"))
            return real(descriptor)

        monkeypatch.setattr(locks, "try_lock", lock_late)
        assert not await can_claim(store, message)
        monkeypatch.undo()
        assert await stages(store) == {message: Stage.HELD}


async def test_draft_of_a_living_writer_is_left_to_it(spool: SpoolOpener) -> None:
    async with spool() as store, store.draft(ENVELOPE) as draft:
        draft.write(b"x")
        async with spool():
            pass
        await draft.commit(Stage.READY)
        assert await can_claim(store, draft.id)


async def test_content_whose_envelope_is_missing_is_not_removed_at_once(spool: SpoolOpener) -> None:
    async with spool():
        content = spool.directory / "emailrelay.1700000000000.5.1.content"
        content.write_bytes(b"x")
    for _ in range(2):
        async with spool() as store:
            assert await listed(store) == {}
            assert content.exists()
