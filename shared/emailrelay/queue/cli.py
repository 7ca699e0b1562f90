"""``emailrelay-queue``: the operator's command line."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from heapq import nsmallest
from importlib import metadata
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from emailrelay import spool_dir
from emailrelay.errors import RelayError, StoreUnusable
from emailrelay.events import Event, Level
from emailrelay.queue import render, work
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
from emailrelay.queue.row import Row, to_json
from emailrelay.queue.selection import Selection, parse_id
from emailrelay.queue.totals import Census
from emailrelay.queue.work import APPLIES_TO, Verb
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.store.spool.verify import Finding, Verification

PROGRAM = "emailrelay-queue"
_TABLE = 1000
"""Rows of a table, unless told otherwise: it must be whole in memory before it can be drawn."""
_LONG_WORK = 200
"""Messages from which on a progress bar is worth its line."""

_T = TypeVar("_T")

app = typer.Typer(
    name=PROGRAM,
    help="Look at the queue and change what becomes of its messages.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status (docs/queue.md)."""
    try:
        return app(argv, prog_name=PROGRAM, standalone_mode=False) or os.EX_OK
    except typer.TyperException as error:
        return _complain(error.format_message() or "say what to do, see --help", os.EX_USAGE)
    except typer.Abort:
        return _complain("nothing was done", 1)
    except StoreUnusable as error:
        return _complain(str(error), os.EX_NOINPUT)
    except RelayError as error:
        return _complain(str(error), os.EX_TEMPFAIL)
    except BrokenPipeError:
        # The reader of a pipe has seen enough; the interpreter must not fail once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return os.EX_OK


def _complain(text: str, status: int) -> int:
    sys.stderr.write(f"{PROGRAM}: {text}\n")
    return status


def _print_version(asked: bool) -> None:  # noqa: FBT001 - the library's signature
    if asked:
        sys.stdout.write(f"{PROGRAM} {metadata.version('emailrelay')}\n")
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Look at the queue and change what becomes of its messages."""


def _tell(event: Event) -> None:
    if event.level in (Level.WARNING, Level.ERROR):
        sys.stderr.write(f"{PROGRAM}: {event}\n")


def _place(directory: Path | None, url: str | None) -> str | Path:
    """Give the store's place; this command makes none."""
    if url is not None and directory is None:
        return url
    place = directory or spool_dir.chosen()
    if not place.is_dir():
        raise StoreUnusable(f"{place}: there is no such spool directory; say --spool-dir DIR")
    return place


def _with_store(
    directory: Path | None, url: str | None, act: Callable[[Store], Awaitable[_T]]
) -> _T:
    async def run() -> _T:
        async with open_store(_place(directory, url), report=_tell) as store:
            return await act(store)

    return asyncio.run(run())


@app.command("list")
def list_(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    states: States = None,
    older: Older = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help=f"The oldest N only; 0 = all [{_TABLE} in a table]."),
    ] = None,
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """List messages: state, age, size, addresses, tries and the last reply."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
    if as_json and not limit:
        found = _with_store(directory, store, lambda s: _stream(s, wanted))
    else:
        found = _with_store(
            directory,
            store,
            lambda s: _oldest(s, wanted, _TABLE if limit is None else limit, as_json=as_json),
        )
    return os.EX_OK if found or wanted.empty else 1


async def _stream(store: Store, wanted: Selection) -> int:
    """Print each message as it is found, so that memory does not grow with the queue."""
    count = 0
    async for entry in work.rows(store, wanted, time.time()):
        sys.stdout.write(json.dumps(to_json(entry)) + "\n")
        count += 1
    return count


async def _oldest(store: Store, wanted: Selection, limit: int, *, as_json: bool) -> int:
    now = time.time()
    names = [listed.id async for listed, _ in work.chosen(store, wanted, now)]
    shown = nsmallest(limit or len(names), names, key=_arrival)
    picked = Selection(ids=frozenset(shown), states=wanted.states)
    entries = {entry.id: entry async for entry in work.rows(store, picked, now)}
    ordered = sorted(entries.values(), key=lambda entry: (entry.arrived, _arrival(entry.id)))
    if as_json:
        sys.stdout.writelines(json.dumps(to_json(entry)) + "\n" for entry in ordered)
    else:
        _print_table(ordered, len(names), now)
    return len(names)


def _arrival(message: QueueId) -> tuple[int, ...]:
    """Give a key that sorts ids by arrival: their groups are numbers."""
    return tuple(int(group) if group.isdecimal() else 0 for group in message.split("."))


def _print_table(entries: Sequence[Row], found: int, now: float) -> None:
    console = _console()
    if not found:
        console.print("no messages")
        return
    console.print(render.table(entries, now))
    rest = (
        f"; the oldest {len(entries)} are shown, --limit 0 shows all"
        if len(entries) < found
        else ""
    )
    console.print(f"{found} message{'' if found == 1 else 's'}{rest}")


def _console() -> Console:
    """Give where tables go; into a file or a pipe they go unbroken, for grep."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=1000, soft_wrap=False)


@app.command()
def show(
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID...")],
    as_json: Json = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Tell all that is known of messages: envelope, tries, replies."""
    return _with_store(
        directory, store, lambda s: _show(s, [parse_id(text) for text in ids], as_json=as_json)
    )


async def _show(store: Store, messages: Sequence[QueueId], *, as_json: bool) -> int:
    status = os.EX_OK
    for message in messages:
        found = await work.story(store, message, time.time())
        if found is None:
            status = _complain(f"{message}: no such message", 1)
            continue
        entry = found if isinstance(found, Row) else found[0]
        if as_json:
            sys.stdout.write(json.dumps(to_json(entry)) + "\n")
        elif isinstance(found, Row):
            sys.stdout.write(f"Message {entry.id}: {entry.state}, {entry.last_reply}\n")
        else:
            sys.stdout.writelines(f"{line}\n" for line in render.story(*found))
    return status


@app.command()
def stats(*, as_json: Json = False, directory: SpoolDir = None, store: StoreUrl = None) -> int:
    """Count messages and octets, state by state."""
    census = _with_store(directory, store, _count)
    if as_json:
        sys.stdout.write(json.dumps(census.to_json()) + "\n")
    else:
        _console().print(render.totals_table(census.rows(), time.time()))
    return os.EX_OK


async def _count(store: Store) -> Census:
    census, now = Census.empty(), time.time()
    async for listed in store.listing():
        census.add(listed, now)
    return census


def _change(
    verb: Verb,
    wanted: Selection,
    *,
    everything: bool,
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
        return _complain(f"{verb} does not apply to messages in that state", 1)
    return _with_store(directory, store, lambda s: _apply(s, verb, narrowed))


async def _apply(store: Store, verb: Verb, wanted: Selection) -> int:
    messages = [listed.id async for listed, _ in work.chosen(store, wanted, time.time())]
    if not messages:
        return _complain(f"there is nothing to {verb}", 1)
    messages.sort(key=_arrival)
    with Progress(
        console=Console(stderr=True),
        transient=True,
        disable=len(messages) < _LONG_WORK or not sys.stderr.isatty(),
    ) as progress:
        outcome = await work.apply(store, verb, progress.track(messages, description=verb.value))
    for message, reason in outcome.failed.items():
        _complain(f"{message}: {reason}", 1)
    missed = wanted.ids - set(messages)
    for message in sorted(missed):
        _complain(f"{message}: no such message to {verb}", 1)
    gone = f", {len(outcome.gone)} had moved on" if outcome.gone else ""
    sys.stdout.write(f"{verb}: {len(outcome.done)} of {len(messages)} messages{gone}\n")
    return 1 if outcome.failed or missed or not outcome.done else os.EX_OK


@app.command()
def hold(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    states: States = None,
    older: Older = None,
    everything: All = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Set messages aside until they are released."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
    return _change(Verb.HOLD, wanted, everything=everything, directory=directory, store=store)


@app.command()
def release(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    older: Older = None,
    everything: All = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Send held messages on, from where they were; their age starts anew."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=None, older=older)
    return _change(Verb.RELEASE, wanted, everything=everything, directory=directory, store=store)


@app.command()
def retry(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    states: States = None,
    older: Older = None,
    everything: All = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Try failed, held or deferred messages as if they had just come in."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
    return _change(Verb.RETRY, wanted, everything=everything, directory=directory, store=store)


@app.command()
def fail(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    states: States = None,
    older: Older = None,
    everything: All = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Give messages up: they are kept as failed, and their senders are told."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
    return _change(Verb.FAIL, wanted, everything=everything, directory=directory, store=store)


@app.command()
def flush(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    older: Older = None,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Try deferred messages now (all, unless some are named); their age goes on."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=None, older=older)
    return _change(Verb.FLUSH, wanted, everything=True, directory=directory, store=store)


@app.command()
def delete(
    *,
    ids: Ids = None,
    sender: Sender = None,
    recipient: Recipient = None,
    states: States = None,
    older: Older = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    directory: SpoolDir = None,
    store: StoreUrl = None,
) -> int:
    """Delete messages for good; nobody is told."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
    if not wanted.ids and not yes and sys.stdin.isatty():
        typer.confirm("Delete all these messages for good?", abort=True)
    return _change(Verb.DELETE, wanted, everything=everything, directory=directory, store=store)


@app.command()
def verify(
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Finish, take back or set aside what is found.")
    ] = False,
    contents: Annotated[
        bool, typer.Option("--contents", help="Read every content and compare its checksum.")
    ] = False,
    as_json: Json = False,
    directory: SpoolDir = None,
) -> int:
    """Look for damage in a spool directory; nothing is changed without --repair."""
    place = _place(directory, None)
    check = Verification(Path(place), contents=contents)
    found = list(_followed(check))
    repaired = asyncio.run(check.repair(found)) if repair and found else {}
    for finding in found:
        _print_finding(finding, repaired.get(finding), as_json=as_json)
    if not as_json:
        word = "problem" if len(found) == 1 else "problems"
        sys.stdout.write(f"{check.messages} messages, {len(found)} {word}\n")
    return 1 if found else os.EX_OK


def _followed(check: Verification) -> list[Finding]:
    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        names = check.listing()
        steps = progress.track(names, description="verify", total=len(names))
        return [finding for name in steps for finding in check.look(name)]


def _print_finding(finding: Finding, done: str | None, *, as_json: bool) -> None:
    if as_json:
        what = {"name": finding.name, "problem": finding.problem, "repair": done}
        sys.stdout.write(json.dumps(what) + "\n")
    else:
        sys.stdout.write(f"{finding.name}: {finding.problem}{f' -> {done}' if done else ''}\n")
