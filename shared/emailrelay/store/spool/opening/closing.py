"""Takes the right to change mail from the members of the group of a spool that became sticky.

New files in a sticky spool are made without it. This is for those that were made before.
"""

import contextlib
import os
import stat

from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import Directory, Location


def close_files(root: Directory) -> None:
    """Let the group only read this user's files in a spool. Blocks.

    Raises:
        OSError: the spool cannot be listed.

    """
    below = (root.below(name, makes=False) for name in (names.DRAFTS, names.HISTORY))
    for directory in (root, *below):
        with contextlib.suppress(FileNotFoundError), files.scanned(directory) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    # Perhaps it has just gone, or is another user's; the others are closed.
                    with contextlib.suppress(OSError):
                        _close(directory / entry.name)


def _close(at: Location) -> None:
    descriptor = files.open_regular(at)
    if descriptor is None:
        return
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & stat.S_IWGRP:
            os.fchmod(descriptor, mode & ~stat.S_IWGRP)
    finally:
        os.close(descriptor)
