"""A full or failing disk refuses a message, leaves nothing of it, and loses none that was taken."""

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, claimed, content_of, listed, put

from emailrelay.errors import StoreError, StoreUnusable
from emailrelay.settlement import Done
from emailrelay.store.chooser import open_store

ROOM = 256 * 1024


@contextmanager
def small_disk(directory: Path, options: str) -> Generator[Path]:
    """Mount a file system in memory, where that is allowed."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@contextmanager
def largest_file(octets: int) -> Generator[None]:
    """Limit the size of files, which also makes writes come out short. Python ignores SIGXFSZ."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def leftovers(spool: Path) -> list[Path]:
    return [*spool.glob("emailrelay.*"), *(spool / ".new").iterdir()]


async def test_full_disk_refuses_and_takes_mail_again_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", f"size={ROOM}") as disk:
        async with open_store(disk / "spool", report=lambda _: None) as store:
            kept = await put(store, b"kept")
            with pytest.raises(StoreError) as refusal:
                await put(store, b"x" * (2 * ROOM))
            assert refusal.value.no_room
            assert set(await listed(store)) == {kept}
            assert list((disk / "spool" / ".new").iterdir()) == []
            filler = disk / "filler"
            with pytest.raises(OSError, match="No space"):
                filler.write_bytes(b"x" * (2 * ROOM))
            with pytest.raises(StoreError) as refusal:
                await put(store, b"small")
            assert refusal.value.no_room
            assert set(await listed(store)) == {kept}
            # A full disk must not stop mail from leaving.
            async with await claimed(store, kept) as claim:
                assert await content_of(claim) == b"kept"
                await claim.settle(Done())
            filler.unlink()
            again = await put(store, b"again")
            assert set(await listed(store)) == {again}


async def test_disk_without_inodes_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", f"size={ROOM},nr_inodes=12") as disk:
        async with open_store(disk / "spool", report=lambda _: None) as store:
            taken = set[str]()

            async def fill() -> None:
                while True:
                    taken.add(await put(store))

            with pytest.raises(StoreError) as refusal:
                await fill()
            assert refusal.value.no_room
            assert set(await listed(store)) == taken
            assert list((disk / "spool" / ".new").iterdir()) == []


@pytest.mark.parametrize("limit", [0, 100, 5000])
async def test_file_size_limit_is_no_room(spool: SpoolOpener, limit: int) -> None:
    async with spool() as store:
        with largest_file(limit), pytest.raises(StoreError) as refusal:
            await put(store, b"x" * 10_000)
        assert refusal.value.no_room
        assert leftovers(spool.directory) == []
        again = await put(store)
        assert set(await listed(store)) == {again}


async def test_draft_can_be_left_after_a_failed_write(spool: SpoolOpener) -> None:
    async with spool() as store:
        async with store.draft(ENVELOPE) as draft:
            with largest_file(10), pytest.raises(StoreError):
                draft.write(b"x" * 100)
        assert leftovers(spool.directory) == []


async def test_spool_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnusable, match=r"file/spool.* that the user \S+ can write to"):
        async with open_store(tmp_path / "file" / "spool", report=lambda _: None):
            pass


async def _made(directory: Path) -> None:
    async with open_store(directory, report=lambda _: None):
        pass


@pytest.mark.parametrize("call", ["io_submit", "fsync", "fdatasync", "/^rename"])
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_error_of_the_kernel_is_a_refusal(tmp_path: Path, call: str, error: str) -> None:
    strace = Path("/usr/bin/strace")
    if not strace.exists():
        pytest.skip("strace is not installed")
    script = (
        "import asyncio, sys\n"
        "from tests.contract.mail import put\n"
        "from emailrelay.errors import StoreError\n"
        "from emailrelay.store.chooser import open_store\n"
        "async def main():\n"
        "    async with open_store(sys.argv[1], report=lambda _: None) as store:\n"
        "        try:\n"
        "            await put(store)\n"
        "        except StoreError as error:\n"
        "            print(error.no_room)\n"
        "asyncio.run(main())\n"
    )
    asyncio.run(_made(tmp_path / "s"))  # the names of new directories are synced as well
    # The first io_submit is a trial. The threads' syncs are made where there is no io_submit.
    when = 2 if call == "io_submit" else 1
    env = {**os.environ, "EMAILRELAY_PORTABLE": "1"} if call.startswith("f") else None
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"]
    run = subprocess.run(
        [
            strace,
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            *inject,
            sys.executable,
            "-c",
            script,
            tmp_path / "s",
        ],
        cwd=Path(__file__).parents[2],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "ptrace" in run.stderr:
        pytest.skip("tracing is not allowed here")
    assert (run.stdout.strip(), run.stderr) == (str(error == "ENOSPC"), "")
    assert leftovers(tmp_path / "s") == []
