"""A sick system: a failed read, write or start delays one entry, never other mail."""

import asyncio
import itertools
import os
import socket
import threading
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import (
    ENVELOPE,
    OK,
    PATIENCE,
    attempt,
    can_claim,
    claimed,
    full,
    next_of,
    put,
    stages,
)

from emailrelay import envelope_format, journal_format
from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files, locks
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.feed import hints
from emailrelay.store.spool.opening import recovery
from emailrelay.store.spool.wake.hint_sender import HintSender, socket_path
from emailrelay.store.spool.wake.hint_socket import HintSocket

ORIGINAL = b"Subject: original\r\n\r\noriginal\r\n"


def bind(path: Path) -> socket.socket:
    """Put a socket there: opening it is an error for every user, root included."""
    bound = socket.socket(socket.AF_UNIX)
    directory = Directory(str(path.parent))
    bound.bind(socket_path(directory, path.name))
    return bound


async def test_one_unreadable_draft_does_not_stop_the_recovery_of_others(
    spool: SpoolOpener,
) -> None:
    async with spool():
        drafts = spool.directory / ".new"
        accepted = Accepted(at=1.0, stage=Stage.READY, length=1, crc32=2363233923)
        name = "emailrelay.1700000000000.1.1"
        (drafts / f"{name}.content").write_bytes(b"x")
        envelope = envelope_format.write(ENVELOPE) + journal_format.write(accepted)
        (drafts / f"{name}.envelope").write_bytes(envelope)
        with bind(drafts / "emailrelay.0.0.0.envelope"):
            async with spool() as store:
                assert await stages(store) == {QueueId("1700000000000.1.1"): Stage.READY}


async def test_one_unreadable_envelope_does_not_stop_the_clearing_of_copies(
    spool: SpoolOpener,
) -> None:
    async with spool():
        work = spool.directory / ".work"
        sick = [f"{number}.1.1" for number in range(8)]
        for message in [*sick, "9.1.1"]:
            (work / f"{message}.run").mkdir()
        bound = [bind(spool.directory / f"emailrelay.{message}.envelope") for message in sick]
        async with spool():
            assert not (work / "9.1.1.run").exists()
        for one in bound:
            one.close()


async def test_message_is_not_to_be_claimed_while_a_dead_copy_of_it_is_removed(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        run = spool.directory / ".work" / f"{message}.run"
        run.mkdir()
        free: list[bool] = []

        def removing(at: Location) -> None:
            root = Directory(str(spool.directory))
            envelope = locks.lock_named(root / f"emailrelay.{message}.envelope.filter")
            free.append(envelope is not None)
            remove_tree(at)

        remove_tree = files.remove_tree
        monkeypatch.setattr(files, "remove_tree", removing)
        async with spool():
            assert free == [False]
            assert not run.exists()
        assert await can_claim(store, message, Stage.UNFILTERED)


@pytest.mark.parametrize("octets", [b"\0" * 1024, b"\xff" * 600 + b"\n", b"../../x peer\n", b"+\n"])
async def test_garbled_doubt_sheet_stops_no_opening(spool: SpoolOpener, octets: bytes) -> None:
    async with spool() as store:
        message = await put(store)
    sheet = spool.directory / ".doubt" / "1.abc"
    sheet.write_bytes(octets)
    spool.reports.clear()
    async with spool() as store:
        assert not sheet.exists()
        assert await can_claim(store, message)
    assert spool.reports == []


async def test_spool_that_is_never_quiet_is_swept_all_the_same(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "_SCAN_ANYWAY", 2.5)
    async with spool() as store, store.feed(Stage.READY):
        dead = spool.directory / ".new" / "emailrelay.1.1.1.envelope"
        dead.write_bytes(b"unfinished")
        async with asyncio.timeout(PATIENCE):
            while dead.exists():
                await put(store)
                await asyncio.sleep(0.2)


async def test_end_of_the_scans_is_not_silent(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(hints, "_SCAN_ANYWAY", 0.0)
    async with spool() as store, store.feed(Stage.READY) as feed:
        monkeypatch.setattr(recovery.Recovery, "sweep", broken)
        with pytest.raises(ValueError, match="broken"):
            async with asyncio.timeout(PATIENCE):
                await feed.claim()


async def test_woken_mail_stays_due_when_the_directory_is_scanned(spool: SpoolOpener) -> None:
    async with spool() as store, store.feed(Stage.READY) as feed:
        messages = {await put(store) for _ in range(3)}
        for _ in messages:
            async with await next_of(feed) as claim:
                later = claim.history.started_at or 0.0
                await claim.settle(Defer(attempt(later, next_attempt=later + 3600, ann=OK)))
        await asyncio.sleep(0.1)  # the hint
        feed.wake()
        other = await put(store)
        async with await next_of(feed) as claim:
            assert claim.id in {other, *messages}
            first = claim.id
            await claim.settle(Done())
        await asyncio.sleep(2.5)  # two looks, and a scan since names have changed
        found = {first}
        for _ in range(3):
            async with await next_of(feed) as claim:
                found.add(claim.id)
                await claim.settle(Done())
        assert found == {other, *messages}


@pytest.mark.parametrize("datagram", [b"x nan", b"x inf", b"x -inf", b"a\0b 0", b"../x 0"])
async def test_nonsense_in_a_hint_stops_no_mail(spool: SpoolOpener, datagram: bytes) -> None:
    async with spool() as store, store.feed(Stage.READY) as feed:
        (hint_socket,) = (spool.directory / ".wake").glob("ready.*")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(str(hint_socket))
            for _ in range(3):
                sender.send(datagram)
        waiting = asyncio.create_task(next_of(feed))
        await asyncio.sleep(0.05)
        message = await put(store)
        async with await waiting as claim:
            assert claim.id == message


async def test_flood_of_announcements_is_ignored_and_mail_goes_on(
    spool: SpoolOpener,
) -> None:
    over, heard = threading.Event(), threading.Event()

    def flood(hint_socket: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(str(hint_socket))
            sender.settimeout(0.05)
            for number in itertools.count():
                lines = "".join(f"1.{number}.{line} 0\n" for line in range(500))
                try:
                    sender.send(lines.encode())
                except TimeoutError:
                    heard.set()  # the socket is paused: more was announced than there can be
                if over.is_set():
                    return

    async with spool() as store, store.feed(Stage.READY) as feed:
        (hint_socket,) = (spool.directory / ".wake").glob("ready.*")
        flooding = asyncio.create_task(asyncio.to_thread(flood, hint_socket))
        waiting = asyncio.create_task(next_of(feed))
        try:
            assert await asyncio.to_thread(heard.wait, PATIENCE)
            message = await put(store)
            async with await waiting as claim:
                assert claim.id == message
        finally:
            over.set()
            await flooding


async def test_sender_finds_a_listener_that_came_within_the_clocks_grain(tmp_path: Path) -> None:
    sender, heard = HintSender(Directory(str(tmp_path))), asyncio.Event()
    first = HintSocket(Directory(str(tmp_path)), "ready", lambda _message, _due: None)
    first.open()
    sender.send(Stage.READY, QueueId("1.1.1"))
    times = os.stat(tmp_path)  # noqa: PTH116 - nobody else runs in this loop
    second = HintSocket(Directory(str(tmp_path)), "ready", lambda _message, _due: heard.set())
    second.open()
    # As it is where two changes fall within one tick of the kernel's clock.
    os.utime(tmp_path, ns=(times.st_atime_ns, times.st_mtime_ns))
    sender.send(Stage.READY, QueueId("1.1.1"))
    async with asyncio.timeout(PATIENCE):
        await heard.wait()
    first.close()
    second.close()
    sender.close()


async def test_row_of_messages_not_to_be_had_does_not_hold_the_loop_up(spool: SpoolOpener) -> None:
    async with spool() as store, store.feed(Stage.READY) as feed:
        waiting = asyncio.create_task(feed.claim())
        for number in range(200):
            (spool.directory / f"emailrelay.1.1.{number}.envelope").write_bytes(b"garbage")
        turns = 0
        async with asyncio.timeout(PATIENCE):
            while len(spool.reports) < 200:
                await asyncio.sleep(0)
                turns += 1
        waiting.cancel()
        assert turns >= 200


@pytest.mark.usefixtures("threads_sync")
async def test_thread_that_cannot_be_started_stops_no_later_commit(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with spool() as store:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            with pytest.raises(StoreError):
                await put(store)
        async with asyncio.timeout(PATIENCE):
            first = await put(store)
            # The syncing thread runs, its helpers do not yet.
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", refused)
                others = await asyncio.gather(*(put(store) for _ in range(20)))
            last = await put(store)
        assert await stages(store) == dict.fromkeys([first, *others, last], Stage.READY)


async def test_doubt_that_cannot_be_cleared_leaks_no_lock(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            assert await claim.before_dot("peer")
            monkeypatch.setattr(os, "pwrite", full)
        assert await can_claim(store, message)


async def test_slow_write_back_of_a_proxied_message_holds_no_other_session_up(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, sync = threading.Event(), os.fdatasync

    def slow(descriptor: int) -> None:
        gate.wait(PATIENCE)
        sync(descriptor)

    async with spool() as store, store.draft(ENVELOPE) as draft:
        monkeypatch.setattr(os, "fdatasync", slow)
        draft.write(b"x" * 9 * 1024 * 1024)
        rescue = threading.Timer(PATIENCE / 4, gate.set)
        rescue.start()
        commit = asyncio.create_task(draft.commit(Stage.READY, Ack.DELIVERED))
        await asyncio.sleep(0.05)
        assert not gate.is_set(), "the loop stood still"
        gate.set()
        rescue.cancel()
        await commit
        assert await can_claim(store, draft.id)


async def test_what_a_full_socket_could_not_take_goes_along_with_the_next_ring(
    tmp_path: Path,
) -> None:
    sender, heard = HintSender(Directory(str(tmp_path))), list[QueueId]()
    hint_socket = HintSocket(
        Directory(str(tmp_path)), "ready", lambda message, _due: heard.append(message)
    )
    hint_socket.open()
    # More than a socket holds: net.unix.max_dgram_qlen is 10, or 512 where systemd runs.
    messages = [QueueId(f"1.1.{number}") for number in range(600)]
    for message in messages[:-1]:
        sender.send(Stage.READY, message)
    hint_socket.receive()
    assert len(heard) < len(messages) - 1
    assert sender.tell(hint_socket.name, f"{messages[-1]} 0.0\n".encode())
    hint_socket.receive()
    assert heard == messages
    hint_socket.close()
    sender.close()


async def test_what_a_full_socket_could_not_take_is_not_kept_when_it_is_gone(
    tmp_path: Path,
) -> None:
    sender, message = HintSender(Directory(str(tmp_path))), QueueId("1.1.1")
    heard = list[QueueId]()
    for _ in range(2):  # one process after another
        hint_socket = HintSocket(
            Directory(str(tmp_path)), "ready", lambda each, _due: heard.append(each)
        )
        hint_socket.open()
        for _ in range(600):
            sender.send(Stage.READY, message)
        hint_socket.close()
        os.utime(tmp_path, (0, 0))  # long enough ago that the directory is looked at once
        sender.send(Stage.READY, message)
    assert not sender.missed
    sender.close()
