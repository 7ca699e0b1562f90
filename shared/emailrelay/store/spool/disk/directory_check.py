"""Checks that a directory can be a spool: local, and without write access for all users."""

import errno
import os
import pwd
import re
import stat
from pathlib import Path

from emailrelay import linux
from emailrelay.errors import RelayError, StoreError, StoreUnusable
from emailrelay.store.spool.disk import names
from emailrelay.store.spool.disk.directory import in_sticky

_OVER_A_NETWORK = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "gfs2", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"}
)
_WRONG_PLACE = frozenset({errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Errors that waiting does not mend: the administrator must change the directory or its name."""
_OCTAL = re.compile(r"\\([0-7]{3})")


def network_file_system(mountinfo: str, path: str) -> str | None:
    """Return the type of the network file system that ``path`` is on, or None for a local one.

    ``mountinfo`` is the text of ``/proc/self/mountinfo`` (see proc(5)); the last, longest mount
    point that begins the path counts.
    """
    best, kind = "", ""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        point = _OCTAL.sub(lambda m: chr(int(m[1], 8)), fields.split(" ")[4])
        under = point in ("/", path) or path.startswith(f"{point}/")
        if under and len(point) >= len(best):
            best, kind = point, rest.split(" ")[0]
    return kind if kind in _OVER_A_NETWORK else None


def check(root: Path) -> None:
    """Refuse a directory in which the spool's guarantees cannot hold.

    Raises:
        StoreUnusable: on a network file system, or with write access for all users.

    """
    kind = network_file_system(linux.mount_table(), str(root.resolve()))
    if kind is not None:
        raise StoreUnusable(
            f"{root} is on {kind}: locks do not exclude other hosts there, so mail could be sent"
            " twice; use a directory on a local disk"
        )
    if root.stat().st_mode & stat.S_IWOTH:
        raise StoreUnusable(f"{root} is writable by all users; run: chmod o-rwx {root}")


def only_submits(root: Path) -> bool:
    """Tell if this user is a member of the group of a sticky spool, who only submits and looks."""
    try:
        found = root.stat()
    except OSError:
        return False
    return bool(found.st_mode & stat.S_ISVTX) and os.geteuid() not in (0, found.st_uid)


def open_to_members(root: Path) -> dict[Path, int]:
    """Return the directories in a sticky spool in which its group has rights that it must not have.

    The values are the right modes. They were made before the spool became sticky, or by an earlier
    release, and could not be closed since.
    """
    if not root.stat().st_mode & stat.S_ISVTX:
        return {}
    found = (root / name for name in (*names.DIRECTORIES, names.SLOTS, names.HISTORY))
    modes = ((path, mode) for path in found if (mode := _mode_of_directory(path)) is not None)
    right = ((path, mode, in_sticky(mode, path.name)) for path, mode in modes)
    return {path: wanted for path, mode, wanted in right if _opens_more(mode, wanted)}


def _mode_of_directory(path: Path) -> int | None:
    """Return the mode; None: there is none, or a member of the group has made a link there."""
    try:
        found = path.lstat().st_mode
    except OSError:
        return None
    return stat.S_IMODE(found) if stat.S_ISDIR(found) else None


def _opens_more(mode: int, wanted: int) -> bool:
    """Tell if a mode lets the group do more; without the sticky bit it could replace files."""
    return bool(mode & ~wanted or (wanted & stat.S_IWGRP and not mode & stat.S_ISVTX))


def trouble(root: Path, error: OSError) -> RelayError:
    """Return the error for a directory that cannot be opened as a spool."""
    if error.errno not in _WRONG_PLACE:
        return StoreError(f"open the spool {root}", error)
    # The trouble may be a directory above, so its path is named, too.
    at = f" ({error.filename})" if str(error.filename) != str(root) else ""
    return StoreUnusable(
        f"{root}: {error.strerror}{at}; the spool must be a directory that {_this_user()} can write"
        " to, or make: use --spool-dir DIR, or run this command as the owner of the spool"
    )


def _this_user() -> str:
    try:
        return f"the user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:  # containers have users without a name
        return f"the user {os.geteuid()}"
