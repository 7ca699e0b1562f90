"""The directory of a spool: its rights, its file system, its URL."""

import os
import stat
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.foreign_files import names
from tests.contract.mail import (
    NEVER,
    claimed,
    put,
)

from emailrelay.errors import StoreUnusable
from emailrelay.settlement import Fail
from emailrelay.store.chooser import open_store
from emailrelay.store.spool.disk.directory_check import network_file_system


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
