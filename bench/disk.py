"""The file system below the spools: its kind, and one with a journal for machines without any.

ext4 without a journal does not give a deleted inode away for a minute: with each new file it passes
over those of all messages of that minute, which can double the CPU of a message. Machines of build
services have such disks; mail servers have a journal.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

_JOURNALS = Path("/proc/fs/jbd2")
_SIZE = 8 << 30
"""Octets of a made disk. All are written in advance: no write has to find a place for its file."""
_PIECE = bytes(16 << 20)
_OCTETS_FOR_AN_INODE = "2048"
"""For a queue of a million messages, two files each."""
_WHOLE = "lazy_itable_init=0,lazy_journal_init=0"
"""Nothing is left to be prepared in the background, beside the measurements."""


@contextlib.contextmanager
def made() -> Generator[Path]:
    """Give a directory on an ext4 with a journal, in a file behind a loop device. Needs root."""
    with tempfile.TemporaryDirectory(prefix="bench-disk-") as directory:
        Path(directory).chmod(0o755)  # Postfix has users of its own
        image, place = Path(directory, "image"), Path(directory, "mounted")
        place.mkdir()
        with image.open("wb") as file:
            for _ in range(_SIZE // len(_PIECE)):
                file.write(_PIECE)
        _run("mkfs.ext4", "-q", "-i", _OCTETS_FOR_AN_INODE, "-E", _WHOLE, str(image))
        # Past the page cache, else each write is copied twice.
        device = _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
        try:
            _run("mount", device, str(place))
            try:
                yield place
            finally:
                _run("umount", str(place))
        finally:
            _run("losetup", "--detach", device)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def described(directory: Path) -> str:
    """Describe the file system of a directory in a few words."""
    number = directory.stat().st_dev
    mounts = Path("/proc/self/mountinfo").read_text()
    kind = kind_of(mounts, f"{os.major(number)}:{os.minor(number)}")
    if kind != "ext4":
        return kind
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name
    has_journal = any(_JOURNALS.glob(f"{device}-*"))
    return f"ext4 {'with' if has_journal else 'WITHOUT'} a journal"


def kind_of(mounts: str, number: str) -> str:
    """Find the kind of the file system of a device number, MAJOR:MINOR (proc(5), mountinfo)."""
    for line in mounts.splitlines():
        mount, _, file_system = line.partition(" - ")
        if mount.split()[2:3] == [number]:
            return file_system.split()[0]
    return "an unknown file system"
