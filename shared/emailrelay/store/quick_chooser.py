"""The store that a place names, for commands that must start quickly."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId

# Imported at once: ``emailrelay-submit`` begins a message when it can no longer import (as root).
from emailrelay.store.spool.submission import SpoolSubmission
from emailrelay.store.submission import Submission, SubmissionRefused

if TYPE_CHECKING:  # the journal takes 10 ms, and only those who look read it
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


def begin_submission(
    where: str, next_id: Callable[[], QueueId], fallback: str | None = None
) -> Submission:
    """Begin a message in the store at ``where``, a directory or a URL.

    ``fallback``: the spool for it if the store there is a database that is away.

    Raises:
        SubmissionRefused: there is no such store, or this user may not write into it.
        OSError, StoreError: not now.

    """
    directory = directory_at(where)
    if directory is not None:
        return SpoolSubmission(directory, next_id)
    from emailrelay.store import chooser  # noqa: PLC0415 - other stores do without

    try:
        return chooser.begin_submission(where, next_id)
    except StoreError:
        other = None if fallback is None else directory_at(fallback)
        if other is None:
            raise
        return SpoolSubmission(other, next_id)


def takes_submissions(where: str) -> bool:
    """Return whether this user can put mail into the store at ``where``, which has no directory.

    Raises:
        OSError, StoreError: it cannot be known now.

    """
    from emailrelay.queue_id import QueueIds  # noqa: PLC0415 - few programs speak SMTP to us

    ids = QueueIds(0)
    try:
        begin_submission(where, lambda: ids.next(0.0)).discard()
    except SubmissionRefused:
        return False
    return True


def view_at(
    where: "str | Path",
    *,
    fallback: str | None = None,
    report: "Callable[[Event], None] | None" = None,
) -> "QueueView":
    """Return the queue of the store at ``where``, a directory or a URL.

    ``fallback``: the spool that takes mail while the database there is away.

    Raises:
        StoreError: it is away.
        StoreUnusable: there is no such store.

    """
    directory = directory_at(where)
    if directory is not None:
        from emailrelay.store.spool.spool_view import SpoolView  # noqa: PLC0415 - see above

        return SpoolView(directory)
    from emailrelay.store import chooser  # noqa: PLC0415 - other stores do without

    return chooser.open_view(where, fallback, report or _unheard)


def _unheard(_event: "Event") -> None:
    """Report nothing: the caller hears of the trouble by the error."""
