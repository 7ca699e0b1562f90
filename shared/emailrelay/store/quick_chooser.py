"""The store that a place names, for commands that must start quickly."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from emailrelay.queue_id import QueueId

# Imported at once: ``emailrelay-submit`` begins a message when it can no longer import (as root).
from emailrelay.store.spool.submission import SpoolSubmission
from emailrelay.store.submission import Submission

if TYPE_CHECKING:  # the journal takes 10 ms, and only mailq reads it
    from emailrelay.store.queue_entry import QueueEntry


def begin_submission(where: str, next_id: Callable[[], QueueId]) -> Submission:
    """Begin a message in the store at ``where``, a spool directory.

    Raises:
        SubmissionRefused: there is no such store, or this user may not write into it.
        OSError, StoreError: not now.

    """
    return SpoolSubmission(where, next_id)


def queue_at(where: str) -> Iterator["QueueEntry"]:
    """Yield the messages of the store at ``where``, a spool directory, oldest first.

    Raises:
        OSError, StoreError: it cannot be read.

    """
    from emailrelay.store.spool import quick_listing  # noqa: PLC0415 - only mailq needs it

    return quick_listing.entries(where)
