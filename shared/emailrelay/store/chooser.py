"""The store that a place names."""

import contextlib
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from emailrelay import extras
from emailrelay.errors import StoreError, StoreForbidden, StoreUnusable
from emailrelay.events.event import Report
from emailrelay.queue_id import QueueId
from emailrelay.spool_sync import SpoolSync
from emailrelay.store.base import Store
from emailrelay.store.joined_view import JoinedView
from emailrelay.store.memory.store import MemoryStore
from emailrelay.store.queue_view import QueueView
from emailrelay.store.several import SeveralStores
from emailrelay.store.spool.disk import directory_check
from emailrelay.store.spool.recipient_sockets import RecipientSockets
from emailrelay.store.spool.spool_view import SpoolView
from emailrelay.store.spool.store import SpoolStore
from emailrelay.store.spool.tokens import SpoolTokens
from emailrelay.store.spool.trial import SpoolTrial, try_spool
from emailrelay.store.submission import Submission, SubmissionForbidden, SubmissionRefused
from emailrelay.store.tokens import TokenStore


def spool_at(where: str | Path) -> Path | None:
    """Return the directory of the spool at ``where``. None: the store there has no directory."""
    if isinstance(where, Path) or ":" not in where:
        return Path(where)
    if not where.startswith("spool:"):
        return None
    url = urlsplit(where)
    if url.scheme == "spool" and not url.netloc and url.path.startswith("/"):
        return Path(unquote(url.path))
    return None


def spool_trouble(spool: str, minimum_free: int = 0) -> SpoolTrial:
    """Return what would keep a service from a spool directory; see ``spool.trial``."""
    return try_spool(spool, minimum_free)


def only_submits(spool: Path | None) -> bool:
    """Tell if this user may submit to a spool, look at it, and do nothing else there."""
    return spool is not None and directory_check.only_submits(spool)


def open_store(
    where: str | Path,
    *,
    report: Report,
    sync: SpoolSync = SpoolSync.FILES,
    looking: bool = False,
    fallback: str | None = None,
    hands_over: bool = False,
    submitting: bool = False,
) -> Store:
    """Return the store at ``where``: a directory or a URL.

    URLs are ``spool:///var/spool/emailrelay``, ``memory:`` and ``postgresql://user@host/database``.

    ``sync`` is how a spool makes new mail durable; only users that bring mail need to say.
    ``looking``: only ``listing``, ``journal``, ``describe``, ``history`` and ``verification`` are
    used, and nothing is changed. ``fallback``: the spool that takes new mail while a database is
    unavailable; with ``hands_over`` its mail moves into the database by itself. ``submitting``:
    this user ``only_submits`` to the spool.

    Raises:
        StoreUnusable: the place names no store that there is.

    """
    spool_store = partial(
        SpoolStore, report=report, sync=sync, looking=looking, submitting=submitting
    )
    if fallback is not None:
        return _with_fallback(
            str(where), fallback, spool_store, report, looking=looking, hands_over=hands_over
        )
    spool = spool_at(where)
    if spool is not None:
        return spool_store(spool)
    if where == "memory:":
        return MemoryStore(report=report)
    if is_postgres(where):
        return _databases(where, report, looking=looking)
    raise StoreUnusable(
        f"{str(where).partition(':')[0]}: no such store; name a directory,"
        " spool:///absolute/directory, or postgresql://user@host/database"
    )


def urls(where: str | Path) -> list[str]:
    """Return the URLs of databases at ``where``: one, or several with spaces between.

    Raises:
        StoreUnusable: one of them is none of a database.

    """
    found = str(where).split()
    if len(found) > 1 and not all(map(is_postgres, found)):
        raise StoreUnusable("store: of several stores, each is postgresql://user@host/database")
    return found


def _with_fallback(
    where: str,
    fallback: str,
    spool_store: Callable[[Path], Store],
    report: Report,
    *,
    looking: bool,
    hands_over: bool,
) -> Store:
    from emailrelay.store.fallback import FallbackStore  # noqa: PLC0415 - few hosts have one

    spool = spool_at(fallback)
    if spool is None or not is_postgres(where):
        raise StoreUnusable(
            "store_fallback: name a spool, spool:///absolute/directory, beside a store in"
            " a database, postgresql://user@host/database"
        )
    first, second = _databases(where, report, looking=looking, falls_back=True), spool_store(spool)
    origin = store_name(spool, socket.gethostname())
    return FallbackStore(first, second, origin=origin, report=report, hands_over=hands_over)


def store_name(where: str | Path, host: str) -> str:
    """Return a name of a store that no other store has; it holds no secret.

    ``host`` is this host's name, which a directory needs in its name.
    """
    spool = spool_at(where)
    if spool is not None:
        return f"{host}:{spool.resolve()}"
    if not is_postgres(where):
        return str(where)
    with _extra_installed():
        from emailrelay.store.postgres.link import place  # noqa: PLC0415 - other stores do without
    found = list(map(place.parse, urls(where)))
    ports = [each.parameters.get("port") for each in found]
    return " ".join(
        each.shown if port is None else f"{each.shown} port {port}"
        for each, port in zip(found, ports, strict=True)
    )


def is_postgres(where: str | Path) -> bool:
    """Return whether a place is the URL of a PostgreSQL database."""
    return str(where).startswith(("postgresql://", "postgres://"))


def _databases(
    where: str | Path, report: Report, *, looking: bool, falls_back: bool = False
) -> Store:
    """Return the store in a database, or in several."""
    with _extra_installed():
        from emailrelay.store.postgres.store import PostgresStore  # noqa: PLC0415
    stores = [
        PostgresStore(url, report=report, looking=looking, falls_back=falls_back)
        for url in urls(where)
    ]
    return stores[0] if len(stores) == 1 else SeveralStores(stores, report)


@contextmanager
def _extra_installed() -> Generator[None]:
    """Import the library of an extra, which other stores do without."""
    try:
        yield
    except ImportError as error:
        raise StoreUnusable(
            f"store: PostgreSQL needs psycopg: {extras.advice('postgres')} ({error})"
        ) from error


def begin_submission(where: str, next_id: Callable[[], QueueId]) -> Submission:
    """Begin a message in the database at ``where``; see ``quick_chooser.begin_submission``."""
    if not is_postgres(where):
        raise SubmissionRefused(f"{where}: this store takes no mail from a command")
    try:
        with _extra_installed():
            from emailrelay.store.postgres.submission import PostgresSubmission  # noqa: PLC0415
        *others, last = urls(where)
        for url in others:
            with contextlib.suppress(StoreError):
                return PostgresSubmission(url, next_id)
        return PostgresSubmission(last, next_id)
    except StoreForbidden as error:
        raise SubmissionForbidden(str(error)) from error
    except StoreUnusable as error:
        raise SubmissionRefused(str(error)) from error


def open_view(where: str | Path, fallback: str | None, report: Report) -> QueueView:
    """Return the queue at ``where``, which has no directory; see ``quick_chooser.view_at``."""
    if not is_postgres(where):
        raise StoreUnusable(f"{str(where).partition(':')[0]}: there is no such queue to show")
    with _extra_installed():
        from emailrelay.store.postgres.postgres_view import PostgresView  # noqa: PLC0415
    views: list[Callable[[], QueueView]] = [
        partial(PostgresView, url, report) for url in urls(where)
    ]
    directory = None if fallback is None else spool_at(fallback)
    if directory is not None and directory.is_dir():
        views.insert(0, partial(SpoolView, str(directory)))
    return JoinedView(views) if len(views) > 1 else views[0]()


def token_directory(where: str | Path, spool_dir: Path) -> Path | None:
    """Return the directory of the tokens for the store at ``where``. None: the store holds them.

    A store in memory has them in ``spool_dir``: they are to outlive the process.
    """
    return None if is_postgres(where) else spool_at(where) or spool_dir


def open_tokens(where: str | Path, spool_dir: Path) -> TokenStore:
    """Return the tokens for the store at ``where``."""
    directory = token_directory(where, spool_dir)
    if directory is not None:
        return SpoolTokens(str(directory))
    with _extra_installed():
        from emailrelay.store.postgres.tokens import PostgresTokens  # noqa: PLC0415
    return PostgresTokens(urls(where)[0])


def recipient_sockets(where: str | Path) -> RecipientSockets:
    """Return the sockets of the store at ``where`` for questions about recipients.

    Raises:
        StoreUnusable: it has no directory for them.

    """
    spool = spool_at(where)
    if spool is None:
        raise StoreUnusable("verify_recipients needs a spool, on the host of both services")
    return RecipientSockets(str(spool))
