"""The first sockets of a directory in which members of the spool's group can put many files."""

import os
import stat
from collections.abc import Collection
from itertools import islice

from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory

_MOST = 64
"""Sockets that are used."""


def first_sockets(directory: Directory, most_names: int) -> list[str]:
    """Return the names of some sockets, of at most ``most_names`` that are read.

    If there are many names, the sockets of this user and of the directory's owner come first. Other
    names may be there as well: what is at a name can change at any time.

    Raises:
        OSError: the directory cannot be read.

    """
    with files.scanned(directory) as entries:
        found = list(islice(entries, most_names))
        if len(found) > _MOST:
            trusted = {os.geteuid(), os.fstat(directory.fileno()).st_uid}
            found.sort(key=lambda entry: not _is_socket_of(trusted, entry))
    return [entry.name for entry in found[:_MOST]]


def _is_socket_of(users: Collection[int], entry: "os.DirEntry[str]") -> bool:
    try:
        if entry.is_file(follow_symlinks=False) or entry.is_symlink():
            return False  # without a system call on most file systems
        status = entry.stat(follow_symlinks=False)
    except OSError:  # removed since
        return False
    return stat.S_ISSOCK(status.st_mode) and status.st_uid in users
