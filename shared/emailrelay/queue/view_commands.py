"""The commands that only look: list, stats."""

import os
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice

from emailrelay.errors import StoreError
from emailrelay.queue import render, search
from emailrelay.queue.grouping import Grouping, groups
from emailrelay.queue.options import TABLE_ROWS, read_routes, selection
from emailrelay.queue.place import look
from emailrelay.queue.row import QueueRow, row
from emailrelay.queue.selection import Selection, no_routes
from emailrelay.queue.totals import totals
from emailrelay.store.queue_view import QueueEntry, QueueView
from emailrelay.terminal.output import counted, print_as_is, print_json
from emailrelay.terminal.progress import counting
from emailrelay.terminal.window import window


def list_messages(asked: Namespace) -> int:
    """List messages: state, age, size, addresses, next try and last reply; or count groups."""
    wanted, now = selection(asked), time.time()
    with look(asked) as view:
        if asked.by is not None:
            found = _print_groups(view, wanted, asked, now)
        elif asked.json:
            found = _print_json(view, wanted, asked.limit or None, now)
        else:
            most = TABLE_ROWS if asked.limit is None else asked.limit
            found = _print_rows(view, wanted, most, now, wide=asked.wide)
        whole(view)
    return os.EX_OK if found or wanted.empty else 1


def whole(view: QueueView) -> None:
    """Tell if the mail of a store was missing.

    Raises:
        StoreError: it was.

    """
    if view.missing is not None:
        raise StoreError("list the whole queue, a part is missing", view.missing)


def _print_json(view: QueueView, wanted: Selection, limit: int | None, now: float) -> int:
    """Print each message when it is found: memory does not grow with the queue."""
    count = 0
    for entry in islice(search.select(view, wanted, now), limit):
        print_json(asdict(row(entry, now)))
        count += 1
    return count


def _print_rows(view: QueueView, wanted: Selection, limit: int, now: float, *, wide: bool) -> int:
    found = search.select(view, wanted, now)
    shown = [row(entry, now) for entry in islice(found, limit or None)]
    if not shown:
        print_as_is("no messages")
        return 0
    print_rows(shown, now, wide=wide)
    if len(shown) < limit or not limit:
        number = len(shown)
    elif wanted.empty:
        number = sum(count.messages for count in view.counts(now, names_only=True))
    elif wanted.names_suffice:
        number = sum(1 for _ in search.listed(view, wanted, now))
    else:
        number = len(shown) + sum(1 for _ in with_count(found))
    rest = f"; the oldest {len(shown):,} are shown, --limit 0 shows all"
    print_as_is(f"{counted(number, 'message')}{rest if number > len(shown) else ''}")
    return number


def print_rows(shown: list[QueueRow], now: float, *, wide: bool) -> None:
    """Print messages in the form for the window, or the wide one."""
    seen = window()
    lines = (
        render.rows_wide(shown) if wide or seen.width is None else render.rows_on(seen, shown, now)
    )
    for line in lines:
        print_as_is(line)


def _print_groups(view: QueueView, wanted: Selection, asked: Namespace, now: float) -> int:
    by, seen = Grouping(asked.by), window()
    routes_of = read_routes() if by is Grouping.ROUTE else no_routes
    found = groups(with_count(search.select(view, wanted, now)), by, now, routes_of)
    shown = found[: asked.limit or None]
    if asked.json:
        for group in shown:
            print_json(asdict(group))
        return len(found)
    if asked.wide:
        seen = seen._replace(width=None)
    for line in render.groups_on(seen, shown, now) if shown else ("no messages",):
        print_as_is(line)
    return len(found)


def with_count(entries: Iterable[QueueEntry]) -> Iterator[QueueEntry]:
    """Yield the entries; a long search shows at a terminal how far it is."""
    with counting("messages read") as step:
        for entry in entries:
            step()
            yield entry


def stats(asked: Namespace) -> int:
    """Count messages and octets in each state."""
    now = time.time()
    with look(asked) as view:
        found = totals(view.counts(now))
        if asked.json:
            print_json({name: asdict(total) for name, total in found.items()})
        else:
            for line in render.totals_on(window(), found, now):
                print_as_is(line)
        whole(view)
    return os.EX_OK
