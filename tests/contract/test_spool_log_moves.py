"""Messages that come into a spool with a log by a rename, or from another store."""

import os
import time
from pathlib import Path

import pytest
from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener
from tests.contract.mail import claimed, content_of, put, stages
from tests.contract.played_cut import BODY, cut, everything
from tests.contract.test_failures import failed, failure_of, text
from tests.contract.test_move import mover

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.spool.disk import files, locks
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.durable.log import LARGEST_CONTENT
from emailrelay.store.spool.message import taken_over
from emailrelay.store.spool.message.spool import Spool

SIZES = pytest.mark.parametrize(
    "content", [BODY, BODY + bytes(LARGEST_CONTENT)], ids=["small", "large"]
)


async def moved(source: SpoolOpener, target: SpoolOpener) -> dict[QueueId, str]:
    """Move all messages as the commands ``export`` and ``import`` do; return what is left."""
    async with source() as leaving, target() as taking:
        move = mover(leaving, taking)
        await move.run()
        return move.left


@pytest.fixture(name="beside")
def make_beside(logged_spool: LoggedSpoolOpener) -> SpoolOpener:
    """Open the spool as a command does, whose new mail does not go into the log."""
    return SpoolOpener(logged_spool.directory.parent)


@pytest.fixture(name="elsewhere")
def make_elsewhere(tmp_path: Path) -> SpoolOpener:
    (tmp_path / "other").mkdir()
    return SpoolOpener(tmp_path / "other")


async def _has(spool: SpoolOpener, message: QueueId, content: bytes) -> bool:
    async with spool() as store:
        if await stages(store) != {message: Stage.READY}:
            return False
        async with await claimed(store, message) as claim:
            return await content_of(claim) == content


@SIZES
async def test_message_that_left_and_came_back_is_not_removed_by_a_replay(
    logged_spool: LoggedSpoolOpener, beside: SpoolOpener, elsewhere: SpoolOpener, content: bytes
) -> None:
    async with logged_spool() as store:
        message = await put(store, content)
        assert await moved(beside, elsewhere) == {}
        assert await moved(elsewhere, beside) == {}
        after = cut(logged_spool, everything)
    assert await _has(after, message, content)


@SIZES
async def test_the_same_if_the_first_try_to_move_it_back_died(
    logged_spool: LoggedSpoolOpener,
    beside: SpoolOpener,
    elsewhere: SpoolOpener,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def dies(_spool: Spool, _message: QueueId, *, synced: bool) -> None:
        raise OSError(f"the process died here {synced}")

    async with logged_spool() as store:
        message = await put(store, content)
        assert await moved(beside, elsewhere) == {}
        with monkeypatch.context() as process:
            process.setattr(taken_over, "record", dies)
            assert set(await moved(elsewhere, beside)) == {message}
        assert await moved(elsewhere, beside) == {}
        after = cut(logged_spool, everything)
    assert await _has(after, message, content)


async def test_message_that_has_arrived_is_not_held_if_a_cut_undoes_its_last_rename(
    logged_spool: LoggedSpoolOpener, elsewhere: SpoolOpener
) -> None:
    async with elsewhere() as source, logged_spool() as store:
        message = await put(source, BODY)
        assert await moved(elsewhere, logged_spool) == {}
        assert await stages(store) == {message: Stage.READY}
        after = cut(logged_spool, everything)
    ready = after.directory / f"emailrelay.{message}.envelope"
    ready.rename(ready.with_suffix(".envelope.hold"))
    assert await _has(after, message, BODY)


@pytest.fixture(name="synced")
def note_syncs(logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Give the messages that are ready but locked while the spool's names are synced."""
    found: set[str] = set()
    sync = files.sync_directory

    def noted(directory: Directory) -> None:
        sync(directory)
        if directory.path == str(logged_spool.directory):
            for path in logged_spool.directory.glob("*.envelope"):
                held = locks.lock_named(directory / path.name)
                if held is None:
                    found.add(path.name)
                else:
                    locks.unlock_and_close(held)

    monkeypatch.setattr(files, "sync_directory", noted)
    return found


async def _relayed(store: Store) -> QueueId:
    """Relay a notice about a failed message; return its id."""
    async with await failure_of(store, await failed(store)) as failure:
        prepared = await failure.prepare(text, local=False)
        await failure.relay()
        return prepared.id


async def test_names_of_a_notice_last_before_it_can_be_claimed(
    logged_spool: LoggedSpoolOpener, synced: set[str]
) -> None:
    async with logged_spool() as store:
        message = await _relayed(store)
        assert f"emailrelay.{message}.envelope" in synced
        assert await store.claim(Stage.READY, message) is not None


async def test_name_that_replaces_busy_lasts_before_it_can_be_claimed(
    logged_spool: LoggedSpoolOpener, synced: set[str]
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        envelope = logged_spool.directory / f"emailrelay.{message}.envelope"
        old = time.time() - 3600
        os.utime(envelope, (old, old))
        envelope.rename(f"{envelope}.busy")
        async with logged_spool():
            assert envelope.exists()
            assert envelope.name in synced
