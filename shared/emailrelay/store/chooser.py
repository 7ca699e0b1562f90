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
    """Return the store at ``where``: a directory or a URL.

    URLs are ``spool:///var/spool/emailrelay``, ``memory:`` and ``postgresql://user@host/database``.

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
    if is_postgres(str(where)):
        return _postgres(str(where), report=report, clock=clock, looking=looking)
    raise StoreUnusable(
        f"{str(where).partition(':')[0]}: no such store; name a directory,"
        " spool:///absolute/directory, or postgresql://user@host/database"
    )


def is_postgres(where: str) -> bool:
    """Return whether a place is the URL of a PostgreSQL database."""
    return where.startswith(("postgresql://", "postgres://"))


def _postgres(where: str, *, report: Report, clock: Callable[[], float], looking: bool) -> Store:
    """Return the store in a database; its library is imported only here, since it is an extra."""
    try:
        from emailrelay.store.postgres.store import PostgresStore  # noqa: PLC0415
    except ImportError as error:
        raise StoreUnusable(
            f"store: PostgreSQL needs psycopg; run: pip install 'emailrelay[postgres]' ({error})"
        ) from error
    given = None if clock is time.time else clock
    return PostgresStore(where, report=report, clock=given, looking=looking)
