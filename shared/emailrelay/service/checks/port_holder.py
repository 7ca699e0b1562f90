"""The program that listens on a TCP port of this machine (proc(5))."""

from pathlib import Path
from typing import NamedTuple

from emailrelay import linux

_LOCAL, _STATE, _INODE = 1, 3, 9
"""Columns of the kernel's tables."""
_LISTEN = "0A"
_PROC = Path("/proc")
_FIRST_WORDS = 4
"""The words of a command line among which is the name of a program that an interpreter runs."""


class PortHolder(NamedTuple):
    """A process that listens."""

    pid: int
    words: tuple[str, ...]
    """Its command line."""

    @property
    def command(self) -> str:
        """Return the name of its program."""
        return Path(self.words[0]).name if self.words else "a program"

    @property
    def is_ours(self) -> bool:
        """Tell whether it is one of the services."""
        names = (Path(word).name for word in self.words[:_FIRST_WORDS])
        return any(name.startswith("emailrelay") for name in names)


def holder_of(port: int) -> PortHolder | None:
    """Return the process that listens on a port; None: this user cannot see it."""
    try:
        inodes = _listening(port)
        processes = [each for each in _PROC.iterdir() if each.name.isdecimal()] if inodes else []
    except OSError:
        return None
    return next(
        (PortHolder(int(each.name), _words(each)) for each in processes if _holds(each, inodes)),
        None,
    )


def _listening(port: int) -> set[str]:
    rows = (line.split() for line in linux.tcp_table())
    return {
        row[_INODE]
        for row in rows
        if len(row) > _INODE
        and row[_STATE] == _LISTEN
        and row[_LOCAL].rpartition(":")[2] == f"{port:04X}"
    }


def _holds(process: Path, inodes: set[str]) -> bool:
    """Tell whether a process has one of these sockets; False also for those of other users."""
    links = {f"socket:[{inode}]" for inode in inodes}
    try:
        return any(_target(each) in links for each in (process / "fd").iterdir())
    except OSError:
        return False


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _words(process: Path) -> tuple[str, ...]:
    try:
        octets = (process / "cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(octets.decode(errors="replace").split("\0"))
