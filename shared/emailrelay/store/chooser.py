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


def open_store(
    where: str | Path,
    *,
    report: Report,
    clock: Callable[[], float] = time.time,
    sync: SpoolSync = SpoolSync.FILES,
) -> Store:
    """Give the store at ``where``: a directory, ``spool:///var/spool/emailrelay``, or ``memory:``.

    ``sync`` is how a spool makes new mail durable; whoever does not bring any need not say.

    Raises:
        StoreUnusable: the place names no store that there is.

    """
    if isinstance(where, Path) or ":" not in where:
        return SpoolStore(Path(where), report=report, clock=clock, sync=sync)
    url = urlsplit(where)
    if url.scheme == "spool" and not url.netloc and url.path.startswith("/"):
        return SpoolStore(Path(unquote(url.path)), report=report, clock=clock, sync=sync)
    if where == "memory:":
        return MemoryStore(report=report, clock=clock)
    raise StoreUnusable(f"{where}: no such store; say a directory or spool:///absolute/directory")
