"""Which store a place names."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from emailrelay.errors import StoreUnusable
from emailrelay.events import Report
from emailrelay.spool_sync import SpoolSync
from emailrelay.store.base import Store
from emailrelay.store.memory import MemoryStore
from emailrelay.store.spool.store import SpoolStore


def spool_at(where: str | Path) -> Path | None:
    """Give the directory of the spool at ``where``; None: it is no spool."""
    if isinstance(where, Path) or ":" not in where:
        return Path(where)
    url = urlsplit(where)
    if url.scheme == "spool" and not url.netloc and url.path.startswith("/"):
        return Path(unquote(url.path))
    return None


def open_store(
    where: str | Path,
    *,
    report: Report,
    clock: Callable[[], float] = time.time,
    sync: SpoolSync = SpoolSync.FILES,
    looking: bool = False,
) -> Store:
    """Give the store at ``where``: a directory, ``spool:///var/spool/emailrelay``, or ``memory:``.

    ``sync`` is how a spool makes new mail durable; whoever does not bring any need not say.
    ``looking``: it is only listed and described, and nothing in it is touched.

    Raises:
        StoreUnusable: the place names no store that there is.

    """
    spool = spool_at(where)
    if spool is not None:
        return SpoolStore(spool, report=report, clock=clock, sync=sync, looking=looking)
    if where == "memory:":
        return MemoryStore(report=report, clock=clock)
    raise StoreUnusable(f"{where}: no such store; say a directory or spool:///absolute/directory")
