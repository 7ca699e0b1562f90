"""Jobs that wait for stable storage: their ends, and the news of them to their event loops."""

import asyncio
import contextlib
import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from emailrelay.store.spool.disk.sync_threads import Target
from emailrelay.store.spool.durable.records import Record

_T = TypeVar("_T")

Finish: TypeAlias = Callable[[OSError | None], None]
"""Called after the syncs, with the error if one has failed."""


class NotRecorded(OSError):
    """Nothing was written that could take effect later, not even after a power cut."""

    @classmethod
    def because(cls, error: OSError) -> "NotRecorded":
        """Return it with the reason of another error."""
        if isinstance(error, NotRecorded):
            return error
        reason = error.strerror or str(error)
        return cls(error.errno or errno.EIO, reason, error.filename)


def raise_error(error: OSError | None) -> None:
    """Do no more than raise the error, if there is one."""
    if error is not None:
        raise error


@dataclass(slots=True, kw_only=True)
class Job:
    """Files and directories to sync, or a record for the log, and what is done after that."""

    finish: Finish
    targets: Sequence[Target] = ()
    device: int | None = None
    """The device of all its open files, if it is known."""
    closing: Sequence[int] = ()
    record: Callable[[], Record] | None = None
    blocks: bool = False
    """``finish`` is called in the syncing thread, not in the loop."""
    urgent: bool = False
    """A client waits for it."""
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    ended: bool = False


Synced: TypeAlias = tuple[Job, OSError | None]
JobOutcome: TypeAlias = tuple[Job, Exception | None]


def first_error(targets: Sequence[Target], failed: Mapping[Target, OSError]) -> OSError | None:
    """Return the error of the first target that has failed, if any has."""
    if not failed:
        return None
    return next((failed[target] for target in targets if target in failed), None)


def finish_jobs(jobs: Sequence[Synced]) -> list[JobOutcome]:
    """Call ``finish`` of all jobs, and return what each has raised."""
    outcomes: list[JobOutcome] = []
    for job, error in jobs:
        outcome: Exception | None = None
        try:
            job.finish(error)
        except Exception as caught:  # noqa: BLE001 - the waiting caller gets it
            outcome = caught
        outcomes.append((job, outcome))
    return outcomes


def finish_in_loop(synced: Sequence[Synced]) -> None:
    """Have each loop finish its jobs in one turn."""
    for loop, jobs in _by_loop(synced).items():
        try:
            loop.call_soon_threadsafe(_finish_here, jobs)
        except RuntimeError:  # the loop is closed: no caller waits, but the work must be done
            finish_jobs(jobs)


def _finish_here(synced: Sequence[Synced]) -> None:
    resolve(finish_jobs(synced))


def tell_loops(outcomes: Sequence[JobOutcome]) -> None:
    """Have each loop resolve the futures of its jobs in one turn."""
    for loop, ended in _by_loop(outcomes).items():
        # Without a loop no caller waits, and the work is done.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(resolve, ended)


def _by_loop(
    jobs: Sequence[tuple[Job, _T]],
) -> dict[asyncio.AbstractEventLoop, list[tuple[Job, _T]]]:
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Job, _T]]] = {}
    for each in jobs:
        loops.setdefault(each[0].loop, []).append(each)
    return loops


def resolve(outcomes: Sequence[JobOutcome]) -> None:
    """Return the callers their results, in their loop."""
    for job, outcome in outcomes:
        job.ended = True
        if job.future.done():  # the waiter was cancelled
            continue
        if outcome is None:
            job.future.set_result(None)
        else:
            job.future.set_exception(outcome)
