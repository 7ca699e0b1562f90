"""Entries that are no messages, or that this user may not read, hide none of the others."""

import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import put, stages

from emailrelay.errors import DamagedMessage
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay.store.verification import DamageFinding

ODD = QueueId("1700000000.1.1")
NOBODY = 65534


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def _directory(path: Path) -> None:
    path.mkdir()


def _symlink(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(65 * 1024 * 1024)


@pytest.mark.parametrize("made", [_fifo, _socket, _directory, _symlink, _huge])
async def test_odd_entry_is_described_as_damaged(
    spool: SpoolOpener, made: Callable[[Path], None]
) -> None:
    async with spool() as store:
        message = await put(store)
        made(spool.directory / f"emailrelay.{ODD}.envelope")
        assert await stages(store) == {message: Stage.READY, ODD: Stage.READY}
        with pytest.raises(DamagedMessage, match="envelope: "):
            await store.describe(ODD)
        assert await store.describe(message)


async def _findings(spool: SpoolOpener) -> list[DamageFinding]:
    async with open_store(spool.directory, report=spool.reports.append, looking=True) as store:
        check = store.verification(contents=False)
        return [found for name in await check.listing() for found in await check.look(name)]


@pytest.mark.parametrize("made", [_fifo, _socket, _directory, _symlink])
@pytest.mark.parametrize("name", [".envelope", ".content"])
async def test_verification_finds_an_odd_entry_and_goes_on(
    spool: SpoolOpener, made: Callable[[Path], None], name: str
) -> None:
    async with spool() as store:
        await put(store)
    (spool.directory / f"emailrelay.{ODD}.content").write_bytes(b"x")
    path = spool.directory / f"emailrelay.{ODD}{name}"
    path.unlink(missing_ok=True)
    made(path)
    found = await _findings(spool)
    assert [finding.id for finding in found] == [ODD]


@contextmanager
def _as_nobody() -> Generator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
@pytest.mark.parametrize("where", [".envelope", ".content", "draft"])
async def test_entry_that_this_user_may_not_read_hides_no_other(
    spool: SpoolOpener, where: str
) -> None:
    async with spool() as store:
        message = await put(store)
    for directory in spool.directory.parents:
        if directory.stat().st_mode & 0o077 == 0 and directory != Path("/"):
            directory.chmod(0o755)
    for path in (spool.directory, *spool.directory.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    draft = spool.directory / ".new" / f"emailrelay.{ODD}.envelope"
    path = draft if where == "draft" else spool.directory / f"emailrelay.{ODD}{where}"
    path.write_bytes(b"x")
    path.chmod(0)
    with _as_nobody():
        async with spool() as store:
            assert await store.describe(message)
            if where == ".envelope":
                with pytest.raises(DamagedMessage, match="Permission denied"):
                    await store.describe(ODD)
        found = await _findings(spool)
        assert [finding.name for finding in found] == [str(path.relative_to(spool.directory))]


async def test_content_of_any_kind_can_be_listed(spool: SpoolOpener) -> None:
    async with spool() as store:
        _socket(spool.directory / f"emailrelay.{ODD}.content")
        (spool.directory / f"emailrelay.{ODD}.envelope").write_bytes(b"x")
        assert await stages(store) == {ODD: Stage.READY}
