"""The commands that change: hold, release, retry, fail, flush, delete."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from emailrelay.queue import work
from emailrelay.queue.opening import with_store
from emailrelay.queue.options import (
    All,
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
from emailrelay.queue.selection import Selection
from emailrelay.queue.state import arrival
from emailrelay.queue.terminal import complain, counted, print_json, say
from emailrelay.queue.work import APPLIES_TO, Verb, WorkResult
from emailrelay.store.base import Store

_LONG_WORK = 200
"""Messages from which on a progress bar is worth its line."""


def _change(
    verb: Verb,
    wanted: Selection,
    *,
    everything: bool,
    as_json: bool,
    directory: Path | None,
    store: str | None,
) -> int:
    """Do what a verb says to the messages selected, and tell how many there were."""
    if wanted.empty and not everything:
        raise typer.TyperException(
            f"say which messages to {verb}: ID..., --from, --to, --state, --older or --all"
        )
    applicable = APPLIES_TO[verb]
    narrowed = replace(wanted, states=(wanted.states or applicable) & applicable)
    if not narrowed.states:
        return complain(f"{verb} does not apply to messages in that state", 1)
    return with_store(directory, store, lambda s: _apply(s, verb, narrowed, as_json=as_json))


async def _apply(store: Store, verb: Verb, wanted: Selection, *, as_json: bool) -> int:
    messages = [listed.id async for listed, _ in work.chosen(store, wanted, time.time())]
    if not messages:
        return complain(f"there is nothing to {verb}", 1)
    messages.sort(key=arrival)
    with Progress(
        console=Console(stderr=True),
        transient=True,
        disable=len(messages) < _LONG_WORK or not sys.stderr.isatty(),
    ) as progress:
        outcome = await work.apply(store, verb, progress.track(messages, description=verb.value))
    for message, reason in outcome.failed.items():
        complain(f"{message}: {reason}", 1)
    missed = wanted.ids - set(messages)
    for message in sorted(missed):
        complain(f"{message}: no such message to {verb}", 1)
    if as_json:
        _print(outcome)
    else:
        gone = f", {len(outcome.gone)} had moved on" if outcome.gone else ""
        say(f"{verb}: {len(outcome.done)} of {counted(len(messages), 'message')}{gone}")
    return 1 if outcome.failed or missed or not outcome.done else os.EX_OK


def _print(outcome: WorkResult) -> None:
    for message in outcome.done:
        print_json({"id": message, "done": True, "problem": None})
    for message in outcome.gone:
        print_json({"id": message, "done": False, "problem": "had moved on"})
    for message, reason in outcome.failed.items():
        print_json({"id": message, "done": False, "problem": reason})


def hold(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    states: States = None,
    older: Older = None,
    everything: All = False,
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Set messages aside until they are released."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
    return _change(
        Verb.HOLD, wanted, everything=everything, as_json=as_json, directory=directory, store=store
    )


def release(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    older: Older = None,
    everything: All = False,
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Send held messages on, from where they were; their age starts anew."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=None, older=older)
    return _change(
        Verb.RELEASE,
        wanted,
        everything=everything,
        as_json=as_json,
        directory=directory,
        store=store,
    )


def retry(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    states: States = None,
    older: Older = None,
    everything: All = False,
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Try failed, held or deferred messages as if they had just come in."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
    return _change(
        Verb.RETRY, wanted, everything=everything, as_json=as_json, directory=directory, store=store
    )


def fail(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    states: States = None,
    older: Older = None,
    everything: All = False,
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Give messages up: they are kept as failed, and their senders are told."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
    return _change(
        Verb.FAIL, wanted, everything=everything, as_json=as_json, directory=directory, store=store
    )


def flush(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    older: Older = None,
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Try deferred messages now (all, unless some are named); their age goes on."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=None, older=older)
    return _change(
        Verb.FLUSH, wanted, everything=True, as_json=as_json, directory=directory, store=store
    )


def delete(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    states: States = None,
    older: Older = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Delete messages for good; nobody is told."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
    if not wanted.ids and not yes and sys.stdin.isatty():
        typer.confirm("Delete all these messages for good?", abort=True)
    return _change(
        Verb.DELETE,
        wanted,
        everything=everything,
        as_json=as_json,
        directory=directory,
        store=store,
    )
