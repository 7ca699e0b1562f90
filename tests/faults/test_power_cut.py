"""Mail with a 250 is whole after a power cut at the worst moment: right after the 250."""

import asyncio
import hashlib
import os
import platform
import shutil
import smtplib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.acceptance.relay import BIN, Process, free_port, until
from tests.faults import sabotage
from tests.faults.disk import Disk
from tests.faults.extent import extent
from tests.faults.report import Report

from emailrelay.spool_sync import SpoolSync
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory

CUTS = int(os.environ.get("CUTS", extent(3, 50)))
"""On each file system."""
MESSAGES = 10
"""Messages of a session before each cut."""
CROWD = 20
"""Sessions at once whose messages are made durable many at a time."""


def _send(port: int, round_: int) -> dict[str, str]:
    """Send messages over one session; give the digest of each body by its queue id."""
    accepted: dict[str, str] = {}
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.ehlo()
        for number in range(MESSAGES):
            body = f"round {round_} message {number} {'x' * number * 1000}\r\n".encode()
            code, said = 451, b""
            for _ in range(2):
                client.mail("a@x.test")
                client.rcpt("b@y.test")
                code, said = client.data(b"Subject: x\r\n\r\n" + body)
                if code != 451:  # refused, since the spool was moved meanwhile: comes again
                    break
            assert code == 250
            accepted[said.decode().rpartition(" ")[2]] = hashlib.sha256(body).hexdigest()
        # Before the session's QUIT: nothing happens between the last 250 and the cut.
        client.close()
    return accepted


def _send_side_by_side(port: int, round_: int, clients: int) -> dict[str, str]:
    with ThreadPoolExecutor(clients) as sending:
        sessions = [sending.submit(_send, port, round_) for _ in range(clients)]
        return {message: body for each in sessions for message, body in each.result().items()}


def _until_cut(
    disk: Disk,
    directory: Path,
    env: Mapping[str, str],
    number: int,
    clients: int = 1,
    *,
    loss: Callable[[Path], object] | None = None,
) -> dict[str, str]:
    """Run a receiver on the disk, send, cut the power after the last 250; give accepted mail.

    With a ``loss``, the mail that was accepted after it.
    """
    port = free_port()
    where = ["--spool-dir", str(disk.root / "spool"), "--interface", "127.0.0.1"]
    receiver = Process(
        f"receiver-{number}",
        [str(BIN / "emailrelay-receiver"), *where, "--port", str(port), "--log-format", "json"],
        directory,
        env=env,
    )
    receiver.spawn()
    try:
        until(lambda: b'"started"' in receiver.log.read_bytes(), "the receiver starts")
        if loss is not None:
            _send_side_by_side(port, number, clients)
            loss(disk.root / "spool")
            files.sync_directory(Directory(str(disk.root)))  # else the cut brings the log back
        accepted = _send_side_by_side(port, number, clients)
        disk.cut()
    finally:
        receiver.clear_away()
    disk.unmount()
    disk.mount()
    return accepted


async def _kept(spool: Path) -> dict[str, str]:
    """Open the spool as the next process would, and give the digests of the bodies in it."""
    found: dict[str, str] = {}
    async with open_store(spool, report=lambda _: None) as store:
        async for entry in store.listing():
            claim = await store.claim(Stage.READY, entry.id)
            if claim is None:  # damaged, so it was set aside and counts as lost
                continue
            async with claim:
                content = b"".join([chunk async for chunk in claim.content()])
            body = content.partition(b"\r\n\r\n")[2]
            found[entry.id] = hashlib.sha256(body).hexdigest()
        assert list((spool / ".new").iterdir()) == []
    return found


@pytest.mark.timeout(extent(300, 8 * 3600))
@pytest.mark.parametrize("clients", [1, CROWD])
@pytest.mark.parametrize("sync", SpoolSync)
def test_acknowledged_mail_survives_power_cuts(
    disk: Disk, tmp_path: Path, report: Report, sync: SpoolSync, clients: int
) -> None:
    accepted: dict[str, str] = {}
    env = {**os.environ, "EMAILRELAY_SPOOL_SYNC": sync}
    for number in range(CUTS):
        accepted |= _until_cut(disk, tmp_path, env, number, clients)
        segments = list((disk.root / "spool" / ".wal").glob("*.log"))
        assert bool(segments) is (sync is SpoolSync.LOG)
        found = asyncio.run(_kept(disk.root / "spool"))
        assert {message: found.get(message) for message in accepted} == accepted
    assert len(accepted) == CUTS * MESSAGES * clients
    doing = f"power cuts on {disk.root.name} behind the 250, {clients} at once, {sync} synced"
    report.figure(doing, f"{CUTS}, {len(accepted)} kept")


async def _all_claimed(spool: Path) -> dict[str, Stage]:
    """Let forwarders and filterd handle everything; return the rest."""
    async with open_store(spool, report=lambda _: None) as store:
        for entry in [entry async for entry in store.listing()]:
            claim = await store.claim(entry.stage, entry.id)
            if claim is not None:
                await claim.release()
        return {entry.id: entry.stage async for entry in store.listing()}


def _wait_for_an_answer(port: int) -> None:
    with suppress(smtplib.SMTPException, OSError), smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("a@x.test", ["b@y.test"], b"Subject: x\r\n\r\n" + b"x" * 20_000)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("filters", [False, True])
@pytest.mark.parametrize("sync", SpoolSync)
def test_mail_without_a_250_is_withdrawn_after_a_power_cut(
    disk: Disk, tmp_path: Path, sync: SpoolSync, *, filters: bool
) -> None:
    port, spool = free_port(), disk.root / "spool"
    settings = ["--spool-dir", str(spool), "--interface", "127.0.0.1", "--ack", "delivered"]
    first = ["--filter", "/bin/true"] if filters else []
    receiver = Process(
        "receiver",
        [str(BIN / "emailrelay-receiver"), *settings, *first, "--port", str(port)],
        tmp_path,
        env={**os.environ, "EMAILRELAY_SPOOL_SYNC": sync},
    )
    receiver.spawn()
    with ThreadPoolExecutor(CROWD) as sending:
        try:
            until(lambda: b"started" in receiver.log.read_bytes(), "the receiver starts")
            for _ in range(CROWD):
                sending.submit(_wait_for_an_answer, port)
            until(lambda: len(list(spool.glob("*.envelope*"))) == CROWD, "all wait")
            # The names are on the disk then, and, with luck, no octet of the files.
            files.sync_directory(Directory(str(spool)))
            disk.cut()
        finally:
            receiver.clear_away()
    disk.unmount()
    disk.mount()
    assert len(list(spool.glob("*.envelope*"))) == CROWD
    assert asyncio.run(_all_claimed(spool)) == {}
    assert list(spool.glob("emailrelay.*")) == []


def _log_removed(spool: Path) -> None:
    shutil.rmtree(spool / ".wal")


def _spool_moved(spool: Path) -> None:
    spool.rename(spool.with_name("moved"))


def _spool_removed(spool: Path) -> None:
    shutil.rmtree(spool)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("loss", [_log_removed, _spool_moved, _spool_removed])
@pytest.mark.parametrize("sync", SpoolSync)
def test_mail_acknowledged_after_the_log_or_the_spool_went_survives_a_power_cut(
    disk: Disk, tmp_path: Path, sync: SpoolSync, loss: Callable[[Path], None]
) -> None:
    env = {**os.environ, "EMAILRELAY_SPOOL_SYNC": sync}
    accepted = _until_cut(disk, tmp_path, env, 0, loss=loss)
    found = asyncio.run(_kept(disk.root / "spool"))
    assert {message: found.get(message) for message in accepted} == accepted


@pytest.mark.timeout(300)
def test_without_syncs_the_same_cuts_lose_what_only_the_log_has(disk: Disk, tmp_path: Path) -> None:
    """The control for the log: ``test_controls`` has those for files."""
    fault = sabotage.environment(sabotage.NOTHING_SYNCED, tmp_path / "fault")
    accepted = _until_cut(disk, tmp_path, {**fault, "EMAILRELAY_SPOOL_SYNC": SpoolSync.LOG}, 0)
    spool = disk.root / "spool"
    found = asyncio.run(_kept(spool)) if spool.exists() else {}
    assert {message: found.get(message) for message in accepted} != accepted


@pytest.mark.timeout(300)
def test_without_the_sync_of_all_the_same_cuts_lose_what_came_at_once(
    disk: Disk, tmp_path: Path
) -> None:
    """The control for many files at a time."""
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes\n"
        "load = ctypes.CDLL\n"
        "def library(*name, **options):\n"
        "    loaded = load(*name, **options)\n"
        "    loaded.syncfs = lambda descriptor: 0\n"
        "    loaded.syscall = lambda *_: -1\n"
        "    return loaded\n"
        "ctypes.CDLL = library\n"
    )
    accepted = _until_cut(disk, tmp_path, {**os.environ, "PYTHONPATH": str(tmp_path)}, 0, CROWD)
    spool = disk.root / "spool"
    found = asyncio.run(_kept(spool)) if spool.exists() else {}
    assert {message: found.get(message) for message in accepted} != accepted


@pytest.mark.timeout(300)
@pytest.mark.parametrize("sync", SpoolSync)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the control has its call's number")
def test_without_the_syncs_of_the_kernel_the_same_cuts_lose_mail(
    disk: Disk, tmp_path: Path, sync: SpoolSync
) -> None:
    """The control for syncs that no thread makes."""
    fault = sabotage.environment(sabotage.KERNEL_SYNCS_DROPPED, tmp_path / "fault")
    env = {**fault, "EMAILRELAY_SPOOL_SYNC": sync}
    accepted = _until_cut(disk, tmp_path, env, 0, CROWD)
    spool = disk.root / "spool"
    found = asyncio.run(_kept(spool)) if spool.exists() else {}
    assert {message: found.get(message) for message in accepted} != accepted
