"""Jobs whose records go into the log together, as one batch each."""

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from emailrelay.store.spool.durable import records
from emailrelay.store.spool.durable.jobs import Job, JobOutcome, NotRecorded, finish_jobs, resolve
from emailrelay.store.spool.durable.log import LARGEST_BATCH, Written
from emailrelay.store.spool.durable.records import Record


@dataclass(slots=True, kw_only=True)
class Share:
    """Jobs whose records go into the log together."""

    jobs: list[Job]
    records: list[Record]
    written: Written | None = None
    error: OSError | None = None

    def take_back(self) -> None:
        """Undo the writing, so that the share can be written to another log."""
        written, self.written, self.error = self.written, None, None
        if written is not None:
            written.shown()


def shares_of(jobs: Sequence[Job]) -> Iterator[Share]:
    """Yield the jobs that have records, with these, in shares that fit into a batch of the log."""
    share, length = Share(jobs=[], records=[]), 0
    for job in jobs:
        if job.record is None:
            continue
        try:
            record = job.record()
        except (OSError, MemoryError) as error:
            resolve(finish_jobs([(job, refusal(error))]))
            continue
        share.jobs.append(job)
        share.records.append(record)
        length += records.size(record)
        if length >= LARGEST_BATCH:
            yield share
            share, length = Share(jobs=[], records=[]), 0
    if share.jobs:
        yield share


def refusal(error: OSError | MemoryError) -> NotRecorded:
    """Return the error that a caller gets if its record was not written."""
    if isinstance(error, OSError):
        return NotRecorded.because(error)
    return NotRecorded(errno.ENOMEM, "no memory for the log")


def show(shares: Sequence[Share]) -> list[JobOutcome]:
    """Make the messages' files show the records, then let the checkpoints have the segments."""
    outcomes: list[JobOutcome] = []
    for share in shares:
        outcomes += finish_jobs([(job, share.error) for job in share.jobs])
        if share.written is not None:
            share.written.shown()
    return outcomes


def show_and_resolve(shares: Sequence[Share]) -> None:
    """Do ``show``, and give the callers their results; in their loop."""
    resolve(show(shares))
