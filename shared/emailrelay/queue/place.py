"""The store that the command line names; a command never creates one."""

import os
from argparse import Namespace

from emailrelay import spool_dir
from emailrelay.errors import StoreError, StoreUnusable
from emailrelay.queue.errors import report
from emailrelay.store.queue_view import QueueView
from emailrelay.store.quick_chooser import directory_at, view_at


def place(asked: Namespace) -> str:
    """Return the store's directory or URL; a directory on the command line comes first.

    Raises:
        StoreUnusable: there is no such directory.

    """
    if asked.spool_dir is None:
        return existing(asked.store or spool_dir.chosen())
    return existing(_as_place(asked.spool_dir))


def _as_place(directory: str) -> str:
    """Return the place of a directory: one with a colon would be taken for a URL."""
    if ":" not in directory:
        return directory
    from urllib.parse import quote  # noqa: PLC0415 - few directories need it

    return f"spool://{quote(os.path.abspath(directory))}"


def existing(where: str) -> str:
    """Return a store's directory or URL as it is, if there is such a directory.

    Raises:
        StoreUnusable: there is no such directory.
        StoreError: this user cannot read it.

    """
    spool = directory_at(where)
    if spool is None:
        return where
    if not os.path.isdir(spool):
        raise StoreUnusable(f"{spool}: there is no such spool directory; use --spool-dir DIR")
    if not os.access(spool, os.R_OK | os.X_OK, effective_ids=True):
        raise StoreError(str(spool), "Permission denied; become root, or a member of its group")
    return where


def fallback_of(where: str) -> str | None:
    """Return the spool that takes mail while the database is unavailable, if this host has one."""
    if directory_at(where) is not None:
        return None
    named = spool_dir.fallback()
    directory = None if named is None else directory_at(named)
    return named if directory is not None and os.path.isdir(directory) else None


def look(asked: Namespace) -> QueueView:
    """Return the queue of the store; see ``quick_chooser.view_at``."""
    where = place(asked)
    return view_at(where, fallback=fallback_of(where), report=report)
