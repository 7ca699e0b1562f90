"""Directories of a running spool that are removed, moved away or replaced."""

import asyncio
import errno
import fcntl
import os
import shutil
import stat
from pathlib import Path

import pytest
from tests.acceptance.relay import until
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, OK, PATIENCE, claimed, listed, next_of, put, stages

from emailrelay.ack import Ack
from emailrelay.errors import StoreError
from emailrelay.events.store import StoreTrouble
from emailrelay.settlement import Done, Pass
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.spool.disk import directory as directories
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.opening import presence

BODY = b"Subject: x\r\n\r\nx\r\n"


async def work(store: Store) -> None:
    """Filter and deliver a message, and another whose client waits for that."""
    message = await put(store, BODY, Stage.UNFILTERED)
    async with await claimed(store, message, Stage.UNFILTERED) as claim:
        copy = await claim.work_copy("filter")
        copy.content.write_bytes(b"Subject: y\r\n\r\n")
        await claim.settle(Pass())
    async with await claimed(store, message) as claim:
        assert await claim.before_dot("smarthost.test:25")
        await claim.settle(Done())
    async with store.draft(ENVELOPE) as draft:
        draft.write(BODY)
        await draft.commit(Stage.READY, Ack.DELIVERED)
        waiting = asyncio.create_task(draft.answer(PATIENCE))
        async with await claimed(store, draft.id) as claim:
            await claim.settle(Done(), answer=OK)
        assert await waiting == OK


@pytest.mark.parametrize("name", names.DIRECTORIES)
async def test_directory_that_is_removed_while_it_is_used_is_made_again(
    synced_spool: SpoolOpener, name: str
) -> None:
    async with synced_spool() as store:
        await work(store)
        shutil.rmtree(synced_spool.directory / name)
        await work(store)
        assert await stages(store) == {}


@pytest.mark.parametrize("name", names.DIRECTORIES)
async def test_directory_that_is_moved_away_is_made_again(
    synced_spool: SpoolOpener, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "_LOOK", 0.0)
    async with synced_spool() as store:
        await work(store)
        (synced_spool.directory / name).rename(synced_spool.directory / ".away")
        await work(store)
        assert list((synced_spool.directory / ".away").glob("*.run-*")) == []


async def test_listener_whose_socket_is_removed_makes_another(spool: SpoolOpener) -> None:
    wake = spool.directory / ".wake"
    async with spool() as store, store.feed(Stage.READY) as feed:
        shutil.rmtree(wake)
        await asyncio.to_thread(until, lambda: list(wake.glob("ready.*")), "another is there")
        message = await put(store)
        async with await next_of(feed) as claim:
            assert claim.id == message


async def test_spool_that_is_moved_away_and_made_anew_is_the_one_that_is_used(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "_LOOK", 0.0)
    async with spool() as store:
        first = await put(store)
        spool.directory.rename(spool.directory.with_suffix(".away"))
        spool.directory.mkdir()
        second = await put(store)
        assert set(await listed(store)) == {second}
    assert list(spool.directory.with_suffix(".away").glob(f"*{first}.envelope"))


@pytest.mark.parametrize("name", sorted({*names.DIRECTORIES} - {".new"}))
async def test_mail_comes_and_goes_beside_a_link_in_the_place_of_a_directory(
    synced_spool: SpoolOpener, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "_LOOK", 0.0)
    (tmp_path / "elsewhere").mkdir()
    async with synced_spool() as store, store.feed(Stage.READY) as feed:
        (synced_spool.directory / name).rename(tmp_path / "away")
        (synced_spool.directory / name).symlink_to(tmp_path / "elsewhere")
        for _ in range(2):
            message = await put(store)
            async with await next_of(feed) as claim:
                assert claim.id == message
                assert await claim.before_dot("smarthost.test:25")
                await claim.settle(Done())
        assert await stages(store) == {}
        (synced_spool.directory / name).unlink()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", [".new", ".work", ".waiting", ".doubt"])
async def test_link_in_the_place_of_a_directory_is_refused_and_named(
    synced_spool: SpoolOpener, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "_LOOK", 0.0)
    (tmp_path / "elsewhere").mkdir()
    place = synced_spool.directory / name
    async with synced_spool() as store:
        place.rename(tmp_path / "away")
        place.symlink_to(tmp_path / "elsewhere")
        if name == ".new":
            with pytest.raises(StoreError, match=rf"{place}: is a link or no directory"):
                await put(store)
        else:
            await put(store)  # nothing else needs them
        place.unlink()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_descriptor_keeps_its_number_when_its_directory_is_replaced(tmp_path: Path) -> None:
    inside = Directory(str(tmp_path)).below("inside")
    number = inside.fileno()
    (tmp_path / "inside").rename(tmp_path / "away")
    inside.renew()
    assert inside.fileno() == number
    files.make_directory(inside / "new")
    assert (tmp_path / "inside" / "new").is_dir()


def test_directory_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside").chmod(0o777)
    with pytest.raises(PermissionError, match="writable by all users"):
        Directory(str(tmp_path)).below("inside").fileno()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
async def test_work_copy_is_refused_in_a_directory_that_another_user_has_put_there(
    synced_spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = files.make_directory

    def swapped(at: Location, mode: int) -> None:
        make(at, mode)
        os.chown(str(at), 65534, -1)  # with the group of the spool

    async with synced_spool() as store:
        message = await put(store, stage=Stage.UNFILTERED)
        monkeypatch.setattr(files, "make_directory", swapped)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            with pytest.raises(StoreError, match="belongs to user 65534"):
                await claim.work_copy("new")


async def test_directory_that_cannot_be_made_sticky_is_reported(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool():
        pass
    spool.directory.chmod(0o3770)
    chmod = os.fchmod

    def refused(descriptor: int, mode: int) -> None:
        if mode & stat.S_ISVTX:
            raise PermissionError(errno.EPERM, "not permitted")
        chmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", refused)
    async with spool():
        reported = [event.reason for event in spool.reports if isinstance(event, StoreTrouble)]
        named = {reason.rpartition(f"{spool.directory}/")[2] for reason in reported}
        assert named == set(names.DIRECTORIES)
    monkeypatch.undo()
    spool.reports.clear()
    async with spool():
        assert not any(isinstance(event, StoreTrouble) for event in spool.reports)


async def test_file_made_before_a_sticky_spool_was_closed_is_closed_at_each_start(
    spool: SpoolOpener,
) -> None:
    async with spool():
        pass
    spool.directory.chmod(0o3770)
    async with spool():
        pass
    content = spool.directory / "emailrelay.1.1.1.content"
    content.touch()
    content.chmod(0o660)  # by a process that has the spool open from before
    async with spool():
        pass
    assert stat.S_IMODE(content.stat().st_mode) == 0o640


async def test_link_of_a_member_in_a_sticky_spool_stops_no_start(
    spool: SpoolOpener, tmp_path: Path
) -> None:
    async with spool():
        pass
    (tmp_path / "elsewhere").mkdir(mode=0o770)
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / "elsewhere" / "file").chmod(0o660)
    (spool.directory / ".history").symlink_to(tmp_path / "elsewhere")
    file = spool.directory / "emailrelay.1.1.1.content"
    file.touch()
    file.chmod(0o660)
    spool.directory.chmod(0o3770)
    async with spool() as store:
        await put(store)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "elsewhere" / "file").stat().st_mode) == 0o660
    assert not any(isinstance(event, StoreTrouble) for event in spool.reports)


async def test_lock_that_another_program_keeps_on_the_log_is_named_and_not_waited_for_long(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_TELL", 0.0)
    monkeypatch.setattr(presence, "_LONGEST", 0.1)
    async with spool():
        pass
    kept = os.open(spool.directory / ".wal", os.O_RDONLY)
    try:
        fcntl.flock(kept, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"/\.wal: another process replays .*fuser"):
            async with spool():
                pass
    finally:
        os.close(kept)
    (told,) = [event for event in spool.reports if isinstance(event, StoreTrouble)]
    assert told.doing == f"share the lock of {spool.directory}/.wal"
    async with spool() as store:
        await put(store)
