"""The command ``trace``: what became of a message, also after it has left the store."""

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from contextlib import aclosing

from rich.console import Console
from rich.progress import Progress, TaskID

from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import PastMessage
from emailrelay.queue import time_line
from emailrelay.queue.errors import print_error
from emailrelay.queue.open_store import with_store
from emailrelay.queue.options import TRACED
from emailrelay.queue.selection import trace_query
from emailrelay.queue.trace_search import TraceSearch
from emailrelay.store.base import Store
from emailrelay.store.mail_history import SearchStep
from emailrelay.terminal.output import counted, print_json, print_line
from emailrelay.terminal.run_command import CommandLineError


def trace(asked: Namespace) -> int:
    """Show what became of messages, including those that have left the store."""
    now = time.time()
    wanted = _query(asked.text.strip(), None if asked.since is None else now - asked.since)
    most = asked.limit if asked.limit is not None else 0 if asked.json else TRACED
    return with_store(
        asked,
        lambda opened: _trace(
            opened, wanted, text=asked.text, now=now, most=most, as_json=asked.json
        ),
        looking=True,
    )


def _query(text: str, earliest: float | None) -> HistoryQuery:
    if not text:
        raise CommandLineError("name an id, an address, a Message-ID or words of a reply")
    return trace_query(text, earliest)


async def _trace(
    store: Store, wanted: HistoryQuery, *, text: str, now: float, most: int, as_json: bool
) -> int:
    # A bar between lines on the same terminal would spoil them, so it needs a bounded result.
    with Progress(
        console=Console(stderr=True), transient=True, disable=not (most and sys.stderr.isatty())
    ) as progress:
        search = TraceSearch(
            store=store, wanted=wanted, now=now, most=most, tell=_Bar(progress).show
        )
        shown, kept = 0, list[str]()
        async with aclosing(search.run()) as found:
            async for message in found:
                shown += 1
                lines = _lines(message, as_json=as_json)
                if most:
                    kept.extend(lines)
                else:
                    _print(lines)
    _print(kept)
    _tell_unread(search, as_json=as_json)
    if search.trouble is not None:
        raise search.trouble
    if search.cut and not as_json:
        print_line(f"the newest {shown} are shown; --limit 0 shows all, --since AGE narrows")
    if not shown and not search.damaged:
        return await _unknown(store, search, text)
    return os.EX_OK if shown else 1


class _Bar:
    """The progress bar, which has one task for each place that is searched."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._place = progress, ""
        self._task: TaskID | None = None

    def show(self, step: SearchStep) -> None:
        """Show a step."""
        if self._progress.disable:
            return
        if self._task is None:
            self._task = self._progress.add_task(step.place)
        self._progress.update(
            self._task, description=step.place, completed=step.done, total=step.total or None
        )


def _lines(message: PastMessage, *, as_json: bool) -> Iterable[str]:
    return (json.dumps(time_line.as_json(message)),) if as_json else time_line.lines(message)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print_line(line)


def _tell_unread(search: TraceSearch, *, as_json: bool) -> None:
    """Tell what the search could not read: for programs also as a last object."""
    damaged = {
        str(message): f"it is in the store and cannot be read: {reason}"
        for message, reason in search.damaged.items()
    }
    unread = {**damaged, **search.unread}
    for place, reason in unread.items():
        print_error(f"{place}: {reason}")
    if as_json and unread:
        print_json({"unread": unread})


async def _unknown(store: Store, search: TraceSearch, text: str) -> int:
    """Say where we looked and what to try; return the exit status."""
    bounds = await store.history().bounds()
    looked = "" if search.wanted.id else f" ({counted(search.looked_at, 'message')})"
    history = (
        "" if bounds.off else f" and in the history of {counted(bounds.days, 'day')} and today"
    )
    off = "it keeps no history (history_days and history_size turn it on)" if bounds.off else ""
    narrowed = "--since leaves older mail out" if search.wanted.since is not None else ""
    found = f"no message found in the store{looked}{history}"
    print_error(f"{text}: {'; '.join(filter(None, (found, off, narrowed)))}")
    if search.wanted.id is None:
        return print_error("try a shorter text: a domain, a local part, or a few words of a reply")
    return print_error("try the sender's or a recipient's address")
