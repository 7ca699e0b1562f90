"""The entrance of the store that a place names, for programs that must start quickly."""

from collections.abc import Callable

from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId
from emailrelay.store.quick_chooser import directory_at

# Imported at once: ``emailrelay-submit`` begins a message when it can no longer import (as root).
from emailrelay.store.spool.submission import SpoolSubmission
from emailrelay.store.submission import Submission, SubmissionForbidden


def begin_submission(
    where: str, next_id: Callable[[], QueueId], fallback: str | None = None
) -> Submission:
    """Begin a message in the store at ``where``, a directory or a URL.

    ``fallback``: the spool for it if the store there is a database that is unavailable.

    Raises:
        SubmissionRefused: there is no such store.
        SubmissionForbidden: this user has no write access to it.
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
        SubmissionRefused: there is no such store.
        OSError, StoreError: it cannot be known now.

    """
    from emailrelay.queue_id import QueueIds  # noqa: PLC0415 - few programs speak SMTP to us

    ids = QueueIds(0)
    try:
        begin_submission(where, lambda: ids.next(0.0)).discard()
    except SubmissionForbidden:
        return False
    return True
