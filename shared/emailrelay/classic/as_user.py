"""File work of root for the user that it will become, safe from attacks by this user.

With the user's rights, the kernel allows only what the user could do anyway. If these rights do not
suffice, as in ``/run`` or ``/var/log``, root acts, but only at a path that this user cannot
redirect.
"""

import errno
import os
import stat
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from emailrelay.classic.identity import Identity

_T = TypeVar("_T")

_MOST_LINKS = 40
"""The kernel follows as many symbolic links (path_resolution(7))."""


def act(path: str, run_as: Identity | None, do: Callable[[str], _T]) -> _T:
    """Return ``do(path)``, called as ``run_as``, or as root if ``run_as`` cannot change the path.

    Without ``run_as``, and in a process that is not root, it calls ``do`` as it is.

    Raises:
        PermissionError: neither is possible; the text says why.
        OSError: what ``do`` raises.

    """
    if run_as is None or os.geteuid() != 0:
        return do(path)
    try:
        with acting_as(run_as):
            return do(path)
    except PermissionError:
        return do(unchangeable(path, run_as.groups))


@contextmanager
def acting_as(run_as: Identity) -> Generator[None]:
    """Take the rights of this user, then root's again; only for a process with one thread."""
    group, groups = os.getegid(), os.getgroups()
    try:
        os.setgroups(run_as.groups)
        os.setegid(run_as.group)
        os.seteuid(run_as.user)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def unchangeable(path: str, groups: Collection[int]) -> str:
    """Return the path with its symbolic links resolved, if only root can redirect it.

    The last names of the path need not exist yet. Each directory must belong to root, without write
    access for everybody or for one of ``groups``. A directory with the sticky bit (``/tmp``) may be
    open to all if the next name in it exists and belongs to root: no other user can rename it
    (unlink(2)).

    Raises:
        PermissionError: another user can change the path.

    """
    here, links = Path("/"), 0
    names = [*reversed(Path(path).absolute().parts[1:])]
    while names:
        name = names.pop()
        if name == "..":
            here = here.parent
            continue
        step = here / name
        try:
            found = step.lstat()
        except FileNotFoundError:
            _require_closed(here, groups, entry=None)
            return str(step.joinpath(*reversed(names)))
        _require_closed(here, groups, entry=found)
        if not stat.S_ISLNK(found.st_mode):
            here = step
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = step.readlink()
        here = Path("/") if target.is_absolute() else here
        names += [name for name in reversed(target.parts) if name != "/"]
    return str(here)


def _require_closed(
    directory: Path, groups: Collection[int], *, entry: os.stat_result | None
) -> None:
    status = directory.lstat()
    held = entry is not None and entry.st_uid == 0 and bool(status.st_mode & stat.S_ISVTX)
    by_group = status.st_mode & stat.S_IWGRP and status.st_gid in groups
    open_to_others = bool(status.st_mode & stat.S_IWOTH or by_group)
    if status.st_uid != 0 or (open_to_others and not held):
        text = (
            "the user to become has no access, and root does not act in a directory that others "
            "can change; choose a directory that belongs to root or to this user"
        )
        raise PermissionError(errno.EACCES, text, str(directory))
