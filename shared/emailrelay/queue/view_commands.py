"""The commands that only read: list, show, stats."""

import os
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from heapq import nsmallest

from emailrelay.queue import render, search, totals
from emailrelay.queue.errors import print_error
from emailrelay.queue.open_store import with_store
from emailrelay.queue.options import TABLE_ROWS, selection
from emailrelay.queue.row import QueueRow
from emailrelay.queue.selection import Selection, parse_id
from emailrelay.queue.totals import Totals
from emailrelay.queue_id import QueueId, arrival
from emailrelay.store.base import Store
from emailrelay.terminal.output import counted, print_json, print_line
from emailrelay.terminal.screen import console


def list_messages(asked: Namespace) -> int:
    """List messages: state, age, size, addresses, tries and last reply."""
    wanted = selection(asked)
    most = TABLE_ROWS if asked.limit is None else asked.limit
    act = partial(_oldest, wanted, most, as_json=asked.json)
    if asked.json and not asked.limit:
        act = partial(_stream, wanted)
    found = with_store(asked, act, looking=True)
    return os.EX_OK if found or wanted.empty else 1


async def _stream(wanted: Selection, store: Store) -> int:
    """Print each message when it is found: memory does not grow with the queue."""
    count = 0
    async for entry in search.rows(store, wanted, time.time()):
        print_json(asdict(entry))
        count += 1
    return count


async def _oldest(wanted: Selection, limit: int, store: Store, *, as_json: bool) -> int:
    now = time.time()
    names = [listed.id async for listed, _ in search.find(store, wanted, now)]
    shown = nsmallest(limit or len(names), names, key=arrival)
    picked = Selection(ids=frozenset(shown), states=wanted.states)
    entries = {entry.id: entry async for entry in search.rows(store, picked, now)}
    ordered = sorted(entries.values(), key=lambda entry: (entry.arrived, arrival(entry.id)))
    if as_json:
        for entry in ordered:
            print_json(asdict(entry))
    else:
        _print_table(ordered, len(names), now)
    return len(names)


def _print_table(entries: Sequence[QueueRow], found: int, now: float) -> None:
    screen = console()
    if not found:
        screen.print("no messages")
        return
    screen.print(render.table(entries, now))
    rest = (
        f"; the oldest {len(entries)} are shown, --limit 0 shows all"
        if len(entries) < found
        else ""
    )
    screen.print(f"{counted(found, 'message')}{rest}")


def show(asked: Namespace) -> int:
    """Show all details of messages: envelope, tries, replies."""
    act = partial(_show, [parse_id(text) for text in asked.ids], as_json=asked.json)
    return with_store(asked, act, looking=True)


async def _show(messages: Sequence[QueueId], store: Store, *, as_json: bool) -> int:
    status = os.EX_OK
    for message in messages:
        found = await search.details(store, message, time.time())
        if found is None:
            status = print_error(f"{message}: no such message")
            continue
        entry = found if isinstance(found, QueueRow) else found[0]
        if as_json:
            print_json(asdict(entry))
        elif isinstance(found, QueueRow):
            print_line(f"Message {entry.id}: {entry.state}, {entry.last_reply}")
        else:
            for line in render.details(*found):
                print_line(line)
    return status


def stats(asked: Namespace) -> int:
    """Count messages and octets in each state."""
    found = with_store(asked, _count, looking=True)
    if asked.json:
        print_json({name: asdict(total) for name, total in found.items()})
    else:
        console().print(render.totals_table(found, time.time()))
    return os.EX_OK


async def _count(store: Store) -> dict[str, Totals]:
    found, now = totals.no_messages(), time.time()
    async for listed in store.listing():
        totals.count(found, listed, now)
    return found
