"""The drafts of a living process stay, those of a dead one go: a lock tells which is which."""

import fcntl
from pathlib import Path

from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, listed, put

from emailrelay.stage import Stage


def _marks(spool: Path) -> list[Path]:
    return list((spool / ".doubt").glob("writer.*"))


def _drafts(spool: Path) -> int:
    return len(list((spool / ".new").iterdir()))


def _locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


async def test_draft_of_a_living_writer_has_no_lock_and_is_left_alone(spool: SpoolOpener) -> None:
    async with spool() as store:
        async with store.draft(ENVELOPE) as draft:
            draft.write(b"Subject: x\r\n\r\n")
            (envelope,) = (spool.directory / ".new").glob("*.envelope")
            assert not _locked(envelope)
            async with spool():
                assert _drafts(spool.directory) == 2
            await draft.commit(Stage.READY)
        assert await listed(store) != {}
    assert _marks(spool.directory) == []


async def test_draft_is_taken_for_dead_when_its_writer_shows_no_life(spool: SpoolOpener) -> None:
    async with spool() as store, store.draft(ENVELOPE) as draft:
        draft.write(b"Subject: x\r\n\r\n")
        (mark,) = _marks(spool.directory)
        mark.unlink()
        async with spool():
            assert _drafts(spool.directory) == 0


async def test_file_of_a_dead_writer_is_removed(spool: SpoolOpener) -> None:
    async with spool():
        pass
    (spool.directory / ".doubt" / "writer.5").touch()
    async with spool():
        assert _marks(spool.directory) == []
    assert spool.reports == []


async def test_writer_that_cannot_show_its_life_locks_each_draft(spool: SpoolOpener) -> None:
    async with spool() as store:
        sheets = spool.directory / ".doubt"
        sheets.rmdir()
        sheets.symlink_to("/nowhere")
        async with store.draft(ENVELOPE) as draft:
            draft.write(b"Subject: x\r\n\r\n")
            (envelope,) = (spool.directory / ".new").glob("*.envelope")
            assert _locked(envelope)
        assert await put(store)


async def test_lost_file_of_a_living_writer_is_made_again(spool: SpoolOpener) -> None:
    async with spool() as store:
        await put(store)
        (mark,) = _marks(spool.directory)
        mark.unlink()
        while not _marks(spool.directory):
            await put(store)
        assert _locked(_marks(spool.directory)[0])
