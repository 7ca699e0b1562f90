"""The files of tokens: private, whole, and durable before the old ones go."""

import os
import stat
from pathlib import Path

import pytest
from tests.service.oauth.sign_ins import refused
from tests.service.signing_in import Desk

from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.tokens import Reserved

# Files


async def test_tokens_are_for_their_owner_alone(desk: Desk) -> None:
    old = os.umask(0)
    try:
        desk.application()
        await desk.bearer()("office")
    finally:
        os.umask(old)
    kept = desk.spool / ".tokens"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in kept.iterdir()} == {
        "office.json": 0o600,
        "office.lock": 0o600,
    }


async def test_directory_that_is_open_to_others_is_not_used(desk: Desk) -> None:
    desk.application()
    (desk.spool / ".tokens").mkdir()
    (desk.spool / ".tokens").chmod(0o755)
    assert "chmod 700" in (await refused(desk)).reason
    assert not desk.server.requests


async def test_full_disk_costs_no_refresh_token(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.server.rotates = True
    desk.person("first")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert "No space left" in (await refused(desk)).reason
    assert not desk.server.requests
    monkeypatch.undo()
    monkeypatch.setenv("SSL_CERT_FILE", str(desk.server.ca))
    desk.later(1000)
    assert await desk.bearer()("office") in desk.server.tokens


async def test_old_tokens_stand_when_new_ones_cannot_be_synced(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.application()
    first = await desk.bearer()("office")
    before = desk.kept()
    desk.later(3400)

    def broken(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    bearer = desk.bearer()
    assert await bearer("office") == first
    await bearer.close()
    assert desk.kept() == before
    assert not list((desk.spool / ".tokens").glob("*.new"))


async def test_file_of_nonsense_is_replaced(desk: Desk) -> None:
    desk.application()
    await desk.bearer()("office")
    (desk.spool / ".tokens" / "office.json").write_bytes(b"\xff{")
    assert await desk.bearer()("office") in desk.server.tokens


async def test_link_in_place_of_the_tokens_is_not_followed(desk: Desk, tmp_path: Path) -> None:
    desk.application()
    await desk.bearer()("office")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    for name in ("office.json", "office.new"):
        path = desk.spool / ".tokens" / name
        path.unlink(missing_ok=True)
        path.symlink_to(victim)
    assert "cannot be stored" in (await refused(desk)).reason
    assert victim.read_text() == "untouched"


async def test_old_tokens_are_gone_only_when_the_new_ones_are_durable(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.server.rotates = True
    desk.person("first")
    steps: list[str] = []
    fsync, rename, sync_directory = os.fsync, files.rename, files.sync_directory

    def synced(descriptor: int) -> None:
        steps.append("fsync")
        fsync(descriptor)

    def renamed(source: Location, target: Location) -> None:
        steps.append("rename")
        rename(source, target)

    def directory(which: Directory) -> None:
        sync_directory(which)
        steps.append("directory")

    await desk.bearer()("office")
    desk.later(4000)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(files, "rename", renamed)
    monkeypatch.setattr(files, "sync_directory", directory)
    await desk.bearer()("office")
    assert steps == ["fsync", "rename", "fsync", "directory"]


async def test_room_is_taken_before_anything_is_asked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.person("first")
    asked: list[int] = []
    commit = Reserved.commit

    def noting(room: Reserved, octets: bytes) -> None:
        asked.append(len(desk.server.requests))
        assert (desk.spool / ".tokens" / "office.new").stat().st_blocks * 512 >= len(octets)
        commit(room, octets)

    monkeypatch.setattr(Reserved, "commit", noting)
    await desk.bearer()("office")
    assert asked == [1]
