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
_SIZE = 16 << 30
"""Octets of a made disk. Its file is sparse: it takes what is written."""


@contextlib.contextmanager
def made() -> Generator[Path]:
    """Give a directory on an ext4 with a journal, in a file behind a loop device. Needs root."""
    with tempfile.TemporaryDirectory(prefix="bench-disk-") as directory:
        image, place = Path(directory, "image"), Path(directory, "mounted")
        place.mkdir()
        Path(directory).chmod(0o755)  # Postfix has users of its own
        with image.open("wb") as file:
            file.truncate(_SIZE)
        _run("mkfs.ext4", "-q", str(image))
        _run("mount", "-o", "loop", str(image), str(place))
        try:
            yield place
        finally:
            _run("umount", str(place))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


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
    """Find the kind of the file system with a device number, MAJOR:MINOR, in proc(5)'s mountinfo."""
    for line in mounts.splitlines():
        mount, _, file_system = line.partition(" - ")
        if mount.split()[2:3] == [number]:
            return file_system.split()[0]
    return "an unknown file system"
