"""A disk for one test that takes writes to what it has, and loses writes to free blocks.

It is ext4 in a file on a tmpfs. The file lacks the free blocks, and the tmpfs gets full, so the
file system notices nothing until it writes data back.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.acceptance.relay import until
from tests.faults.disk import missing

_SIZE, _ROOM = 64, 72  # MiB
_TOOLS = ("dumpe2fs", "fallocate", "fsfreeze", "sync")


class LosingDisk:
    """It is mounted at ``root``."""

    def __init__(self, directory: Path) -> None:
        self._backing, self.root = directory / "backing", directory / "root"
        self._image, self._filling = self._backing / "image", self._backing / "filling"
        for path in (self._backing, self.root):
            path.mkdir()
        try:
            _run("mount", "-t", "tmpfs", "-o", f"size={_ROOM}m", "tmpfs", self._backing)
        except subprocess.CalledProcessError as error:  # root in a container, say
            pytest.skip(f"cannot mount a file system: {error.stderr.decode().strip()}")
        sparse = directory / "sparse"
        with sparse.open("wb") as image:
            image.truncate(_SIZE * 1024 * 1024)
        whole = ("-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0")
        _run("mkfs.ext4", "-q", "-F", *whole, sparse)
        _run("cp", "--sparse=never", sparse, self._image)
        sparse.unlink()
        self.mount()

    def mount(self) -> None:
        """Mount it."""
        _run("mount", "-o", "loop", self._image, self.root)
        # A loop device takes a write for whole if it has written the beginning. So a block is a
        # page, and no write may begin with a block of another file.
        device = _run("losetup", "--associated", self._image).decode().partition(":")[0]
        Path("/sys/block", Path(device).name, "queue", "nomerges").write_text("2")

    def begin_to_lose(self) -> None:
        """Lose what is written from now on, unless it replaces what was written before."""
        _run("fsfreeze", "--freeze", self.root)  # all is in its place then, also the free blocks
        try:
            told = _run("dumpe2fs", self._image).decode()
            size = int(re.findall(r"^Block size: +(\d+)", told, re.MULTILINE)[0])
            for row in re.findall(r"^  Free blocks: (.*)$", told, re.MULTILINE):
                for first, last in re.findall(r"(\d+)(?:-(\d+))?", row):
                    count = int(last or first) - int(first) + 1
                    place = ("-o", str(int(first) * size), "-l", str(count * size))
                    _run("fallocate", "--punch-hole", *place, self._image)
            self._fill()
        finally:
            _run("fsfreeze", "--unfreeze", self.root)

    def _fill(self) -> None:
        with self._filling.open("wb", buffering=0) as filling:
            try:
                while True:
                    filling.write(bytes(4096))
            except OSError:
                return

    def write_back(self) -> None:
        """Do as another program that syncs the file system, and is told what was lost."""
        subprocess.run(["sync", "--file-system", str(self.root)], check=False, capture_output=True)

    def stop_losing(self) -> None:
        """Take all writes again."""
        self._filling.unlink()

    def forget_cached(self) -> None:
        """Have everything be read from the disk."""
        _run("umount", self.root)
        self.mount()

    def remove(self) -> None:
        """Remove the disk; its users must have ended."""
        _run("umount", self.root, check=False)
        until(lambda: not _run("losetup", "--associated", self._image), "nobody has the disk")
        _run("umount", self._backing)


def _run(*command: str | Path, check: bool = True) -> bytes:
    return subprocess.run([*map(str, command)], check=check, capture_output=True).stdout


def reason_to_skip() -> str | None:
    """Return the reason why no such disk can be made here, or None."""
    tools = (f"needs {tool}" for tool in _TOOLS if shutil.which(tool) is None)
    return missing("ext4") or next(tools, None)
