"""The runtime directory: small files by which the services tell the monitor of themselves.

Nothing in it is mail. The services write, and the monitor reads; it may be lost at any time.
"""

import os
import stat
from pathlib import Path

from emailrelay.errors import RelayError

COUNTERS, STATUS = "counters", "status"
"""Its parts: the counters of all processes, and one file for each service."""
_MODE = 0o750


class RuntimeDirUnusable(RelayError):
    """The runtime directory is not safe or cannot be used; the text names it and the remedy."""

    temporary = False


def part_of(runtime_dir: Path, part: str) -> Path:
    """Return a directory in the runtime directory; make both if they are missing.

    Raises:
        RuntimeDirUnusable: one of them cannot be made, or other users could write to it.

    """
    _make(runtime_dir)
    found = runtime_dir / part
    _make(found)
    return found


def obstacle(runtime_dir: Path) -> str | None:
    """Return why this user could not make or use the directory; it is not made. None: it could.

    systemd makes a directory below ``/run`` at the start of a unit (RuntimeDirectory).
    """
    if runtime_dir.exists():
        free = os.access(runtime_dir, os.W_OK | os.X_OK, effective_ids=True)
        return None if free else f"this user cannot write to it: {_REMEDY}"
    if runtime_dir.is_relative_to("/run") and Path("/run/systemd/system").exists():
        return None
    if os.access(runtime_dir.parent, os.W_OK | os.X_OK, effective_ids=True):
        return None
    return "is missing, and this user cannot make it: make it for the user of the services"


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=_MODE, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise RuntimeDirUnusable(f"{directory}: {error.strerror}: {_REMEDY}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise RuntimeDirUnusable(f"{directory}: is not a directory: {_REMEDY}")
    # Other users could put links in place of the files, or change the counts.
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
        raise RuntimeDirUnusable(f"{directory}: other users can write to it: {_REMEDY}")


_REMEDY = "name a directory of the user of the services with runtime_dir"
