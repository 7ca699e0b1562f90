"""Files that other programs, and administrators, put into a spool directory."""

import fcntl
import os
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import (
    ENVELOPE,
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

from emailrelay import envelope_format, journal_format
from emailrelay.acceptance import Accepted
from emailrelay.errors import StoreUnusable
from emailrelay.events.store import PossibleDuplicate, Recovered, SetAside
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done, Fail, Pass
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay.store.spool.disk import files, locks
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.disk.directory_check import network_file_system

OLD_FORMAT = (
    b"X-MailRelay-Format: #2821.3\n"
    b"X-MailRelay-Content: 8bit\n"
    b"X-MailRelay-From: a@x.test\n"
    b"X-MailRelay-ToCount: 1\n"
    b"X-MailRelay-To-Remote: b@y.test\n"
    b"X-MailRelay-Authentication: \n"
    b"X-MailRelay-Client: 127.0.0.1\n"
    b"X-MailRelay-End: 1\n"
)
NOW_FORMAT = envelope_format.write(ENVELOPE)


def foreign(
    spool: SpoolOpener,
    name: str = "1.2.3",
    suffix: str = "",
    envelope: bytes = OLD_FORMAT,
    content: bytes | None = b"Subject: x\r\n\r\n",
) -> QueueId:
    """Put a message in as another program does: content first, then the envelope, in place."""
    if content is not None:
        (spool.directory / f"emailrelay.{name}.content").write_bytes(content)
    (spool.directory / f"emailrelay.{name}.envelope{suffix}").write_bytes(envelope)
    return QueueId(name)


def names(spool: SpoolOpener) -> set[str]:
    """Return the visible names; our other files have names that begin with a dot."""
    return {path.name for path in spool.directory.iterdir() if not path.name.startswith(".")}


async def test_directory_is_made_for_owner_and_group_alone(spool: SpoolOpener) -> None:
    async with spool():
        assert stat.S_IMODE(spool.directory.stat().st_mode) == 0o770
        for directory in spool.directory.iterdir():
            assert stat.S_IMODE(directory.stat().st_mode) & 0o007 == 0
        assert names(spool) == set()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_files_are_for_owner_and_group_alone_whatever_the_umask(
    spool: SpoolOpener, umask: int
) -> None:
    before = os.umask(umask)
    try:
        async with spool() as store:
            message = await put(store)
            async with await claimed(store, message) as claim:
                await claim.settle(Fail(NEVER))
            await put(store)
    finally:
        os.umask(before)
    for name in names(spool):
        assert stat.S_IMODE((spool.directory / name).stat().st_mode) == 0o660, name


async def test_setgid_directory_passes_its_group_on(spool: SpoolOpener) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory to another group")
    spool.directory.mkdir()
    os.chown(spool.directory, -1, 1)
    spool.directory.chmod(0o2770)
    async with spool() as store:
        await put(store)
    assert {(spool.directory / name).stat().st_gid for name in names(spool)} == {1}
    assert stat.S_IMODE(spool.directory.stat().st_mode) == 0o2770


@pytest.mark.parametrize("new_first", [True, False])
def test_the_two_ways_to_take_the_lock_exclude_each_other(
    tmp_path: Path, *, new_first: bool
) -> None:
    first, second = locks.try_lock_new, locks.try_lock
    if not new_first:
        first, second = second, first
    one = files.create(Directory(str(tmp_path)) / "envelope")
    other = files.open_regular(Directory(str(tmp_path)) / "envelope")
    assert other is not None
    assert first(one)
    assert not second(other)
    locks.unlock(one)
    assert second(other)
    assert not first(one)
    os.close(one)
    os.close(other)


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
    spool: SpoolOpener,
) -> None:
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


async def test_directory_writable_by_everybody_is_refused(spool: SpoolOpener) -> None:
    spool.directory.mkdir()
    spool.directory.chmod(0o777)
    with pytest.raises(StoreUnusable, match="writable by all users"):
        async with spool():
            pass


MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
35 22 0:31 / /var/spool rw - nfs4 server:/spool rw
36 35 8:2 / /var/spool/local rw shared:2 master:3 - xfs /dev/sda2 rw
37 22 0:33 / /mnt/two\040words rw - cifs //server/share rw
38 22 0:34 / /mnt/over rw - ext4 /dev/sdb rw
39 38 0:35 / /mnt/over rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home", None),
        ("/var/spool", "nfs4"),
        ("/var/spool/emailrelay", "nfs4"),
        ("/var/spooler", None),
        ("/var/spool/local/emailrelay", None),
        ("/mnt/two words/x", "cifs"),
        ("/mnt/over/x", "fuse.sshfs"),
        ("/", None),
    ],
)
def test_network_file_system_is_known_by_its_mount(path: str, kind: str | None) -> None:
    assert network_file_system(MOUNTS, path) == kind


@pytest.mark.parametrize("where", ["mysql://x/y", "spool://host/dir", "spool:dir", "ftp:x"])
def test_place_that_names_no_store_is_refused(where: str) -> None:
    with pytest.raises(StoreUnusable, match="no such store"):
        open_store(where, report=lambda _: None)


async def test_spool_may_be_named_by_a_url(tmp_path: Path) -> None:
    directory = tmp_path / "with blank"
    url = f"spool://{tmp_path}/with%20blank"
    async with open_store(url, report=lambda _: None) as store:
        await put(store)
    assert len(list(directory.glob("emailrelay.*"))) == 2
