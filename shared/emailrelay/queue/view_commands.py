"""The commands that only read: list, show, stats."""

import os
import time
from collections.abc import Sequence
from heapq import nsmallest
from typing import Annotated

import typer

from emailrelay.queue import render, search
from emailrelay.queue.errors import print_error
from emailrelay.queue.open_store import with_store
from emailrelay.queue.options import (
    Ids,
    Json,
    Older,
    Recipient,
    Sender,
    SpoolDir,
    States,
    StoreUrl,
    selection,
)
from emailrelay.queue.row import QueueRow, to_json
from emailrelay.queue.selection import Selection, parse_id
from emailrelay.queue.state import arrival
from emailrelay.queue.totals import StateTotals
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store
from emailrelay.terminal.screen import console, counted, print_json, print_line

_TABLE_ROWS = 1000
"""Default number of rows: a table is complete in memory before it is printed."""


def list_(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    states: States = None,
    older: Older = None,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help=f"Only the oldest N; 0 = all. [{_TABLE_ROWS} in a table]"
        ),
    ] = None,
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """List messages: state, age, size, addresses, tries and last reply."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
    if as_json and not limit:
        found = with_store(directory, store, lambda s: _stream(s, wanted), looking=True)
    else:
        found = with_store(
            directory,
            store,
            lambda s: _oldest(s, wanted, _TABLE_ROWS if limit is None else limit, as_json=as_json),
            looking=True,
        )
    return os.EX_OK if found or wanted.empty else 1


async def _stream(store: Store, wanted: Selection) -> int:
    """Print each message when it is found: memory does not grow with the queue."""
    count = 0
    async for entry in search.rows(store, wanted, time.time()):
        print_json(to_json(entry))
        count += 1
    return count


async def _oldest(store: Store, wanted: Selection, limit: int, *, as_json: bool) -> int:
    now = time.time()
    names = [listed.id async for listed, _ in search.find(store, wanted, now)]
    shown = nsmallest(limit or len(names), names, key=arrival)
    picked = Selection(ids=frozenset(shown), states=wanted.states)
    entries = {entry.id: entry async for entry in search.rows(store, picked, now)}
    ordered = sorted(entries.values(), key=lambda entry: (entry.arrived, arrival(entry.id)))
    if as_json:
        for entry in ordered:
            print_json(to_json(entry))
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


def show(
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Message ids.")],
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Show all details of messages: envelope, tries, replies."""
    return with_store(
        directory,
        store,
        lambda s: _show(s, [parse_id(text) for text in ids], as_json=as_json),
        looking=True,
    )


async def _show(store: Store, messages: Sequence[QueueId], *, as_json: bool) -> int:
    status = os.EX_OK
    for message in messages:
        found = await search.details(store, message, time.time())
        if found is None:
            status = print_error(f"{message}: no such message")
            continue
        entry = found if isinstance(found, QueueRow) else found[0]
        if as_json:
            print_json(to_json(entry))
        elif isinstance(found, QueueRow):
            print_line(f"Message {entry.id}: {entry.state}, {entry.last_reply}")
        else:
            for line in render.details(*found):
                print_line(line)
    return status


def stats(*, as_json: Json = False, directory: SpoolDir = None, store: StoreUrl = None) -> int:
    """Count messages and octets in each state."""
    totals = with_store(directory, store, _count, looking=True)
    if as_json:
        print_json(totals.to_json())
    else:
        console().print(render.totals_table(totals.rows(), time.time()))
    return os.EX_OK


async def _count(store: Store) -> StateTotals:
    totals, now = StateTotals.empty(), time.time()
    async for listed in store.listing():
        totals.add(listed, now)
    return totals
