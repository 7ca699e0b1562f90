"""A disk of one's own whose power can be cut: a loop-mounted file system that is shut down in mid-flight.

``FS_IOC_SHUTDOWN`` without a flush of the log stops the file system as a power cut stops a disk: what
was not on stable storage is gone after the next mount.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from tests.acceptance.relay import until

_SHUTDOWN = 0x8004587D
_WITHOUT_LOG_FLUSH = struct.pack("I", 2)
_MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}


def missing(kind: str) -> str | None:
    """Say why no such disk can be had here, or None."""
    if os.geteuid() != 0:
        return "needs root, to mount a file system"
    for tool in (_MAKE[kind][0], "mount", "umount", "losetup"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices"
    return None


class Disk:
    """One file system in a file, mounted below ``directory``."""

    def __init__(self, directory: Path, kind: str) -> None:
        self._image, self.root = directory / f"{kind}.img", directory / kind
        self.root.mkdir()
        with self._image.open("wb") as image:
            image.truncate(400 * 1024 * 1024)
        subprocess.run([*_MAKE[kind], str(self._image)], check=True, capture_output=True)
        try:
            self.mount()
        except subprocess.CalledProcessError as error:  # root in a container, say
            pytest.skip(f"cannot mount a file system: {error.stderr.decode().strip()}")

    def mount(self) -> None:
        """Put the disk to use; after a cut the file system recovers by its log."""
        subprocess.run(
            ["mount", "-o", "loop", str(self._image), str(self.root)],
            check=True,
            capture_output=True,
        )

    def cut(self) -> None:
        """Cut the power."""
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _WITHOUT_LOG_FLUSH)
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Take the disk away; its users must have ended.

        Another mount namespace (that of a container, say) may have it for a moment longer; mounted again before
        that ends, it would still be without power.
        """
        subprocess.run(["umount", str(self.root)], check=False, capture_output=True)
        until(lambda: not self._attached(), "nobody has the disk any more")

    def _attached(self) -> bytes:
        command = ["losetup", "--associated", str(self._image)]
        return subprocess.run(command, check=True, capture_output=True).stdout
