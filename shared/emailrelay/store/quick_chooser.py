"""The store that a place names, for commands that must start quickly."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the journal takes 10 ms, and only those who look read it
    from collections.abc import Callable
    from pathlib import Path

    from emailrelay.events.event import Event
    from emailrelay.store.queue_view import QueueView


def directory_at(where: "str | Path") -> str | None:
    """Return the directory of the spool at ``where``. None: the store there has no directory."""
    if not isinstance(where, str) or ":" not in where:
        return str(where)
    from emailrelay.store.chooser import spool_at  # noqa: PLC0415 - only URLs need it

    spool = spool_at(where)
    return None if spool is None else str(spool)


def view_at(
    where: "str | Path",
    *,
    fallback: str | None = None,
    report: "Callable[[Event], None] | None" = None,
) -> "QueueView":
    """Return the queue of the store at ``where``, a directory or a URL.

    ``fallback``: the spool that takes mail while the database there is unavailable.

    Raises:
        StoreError: it is unavailable.
        StoreUnusable: there is no such store.

    """
    directory = directory_at(where)
    if directory is not None:
        from emailrelay.store.spool.spool_view import SpoolView  # noqa: PLC0415 - see above

        return SpoolView(directory)
    from emailrelay.events.event import report_nothing  # noqa: PLC0415 - as below
    from emailrelay.store import chooser  # noqa: PLC0415 - other stores do without

    return chooser.open_view(where, fallback, report or report_nothing)
