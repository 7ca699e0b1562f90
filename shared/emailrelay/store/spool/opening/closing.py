"""Takes the right to change mail from the members of the group of a spool that became sticky.

New files in a sticky spool are made without it. This is for those that were made before, or by a
process that had the spool open before.
"""

import contextlib
import os
import stat
from collections.abc import Callable

from emailrelay.store.spool.disk import files, names, regular_files
from emailrelay.store.spool.disk.directory import Directory, Location


def close_files(root: Directory, *, over: Callable[[], bool]) -> None:
    """Let the group only read this user's files in a spool, until ``over``. Blocks.

    Raises:
        OSError: the spool cannot be listed.

    """
    _close_in(root, over)
    for name in (names.DRAFTS, names.HISTORY):
        # A member may have made a missing one, or a link, which tells nothing of the others.
        with contextlib.suppress(OSError):
            _close_in(root.below(name, makes=False), over)


def _close_in(directory: Directory, over: Callable[[], bool]) -> None:
    with files.scanned(directory) as entries:
        for entry in entries:
            if over():
                return
            # Perhaps it has just gone, or is another user's; the others are closed.
            with contextlib.suppress(OSError):
                if _is_open(entry.stat(follow_symlinks=False)):
                    _close(directory / entry.name)


def _is_open(found: os.stat_result) -> bool:
    """Tell this without opening the file: there may be very many."""
    return stat.S_ISREG(found.st_mode) and bool(found.st_mode & stat.S_IWGRP)


def _close(at: Location) -> None:
    descriptor = regular_files.open_regular(at)
    if descriptor is None:
        return
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & stat.S_IWGRP:
            os.fchmod(descriptor, mode & ~stat.S_IWGRP)
    finally:
        os.close(descriptor)
