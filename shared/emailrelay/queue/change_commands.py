"""The commands that change messages: hold, release, retry, fail, flush, delete."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from emailrelay.queue import actions, search
from emailrelay.queue.actions import APPLIES_TO, Action, ActionResult
from emailrelay.queue.errors import print_error
from emailrelay.queue.open_store import with_store
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
from emailrelay.store.base import Store
from emailrelay.terminal.screen import counted, print_json, print_line

_MANY_MESSAGES = 200
"""From this number of messages on, a progress bar is shown."""
_SUMMARIES = {
    Action.HOLD: "Hold messages until you release them.",
    Action.RETRY: "Retry failed, held or deferred messages; their age starts again.",
    Action.FAIL: "Give up messages: keep them as failed, and tell their senders.",
}


def of(action: Action) -> Callable[..., int]:
    """Return the command of an action that takes all selectors: hold, retry or fail."""

    def command(
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
        return _change(
            action,
            selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older),
            everything=everything,
            as_json=as_json,
            directory=directory,
            store=store,
        )

    command.__doc__ = _SUMMARIES[action]
    return command


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
    """Release held messages; their age starts again."""
    return _change(
        Action.RELEASE,
        selection(ids=ids, sender=sender, recipient=recipient, older=older),
        everything=everything,
        as_json=as_json,
        directory=directory,
        store=store,
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
    """Try deferred messages now; their age continues."""
    return _change(
        Action.FLUSH,
        selection(ids=ids, sender=sender, recipient=recipient, older=older),
        everything=True,
        as_json=as_json,
        directory=directory,
        store=store,
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
    """Delete messages for good, without a notice to the sender."""
    wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
    if not wanted.ids and not yes and sys.stdin.isatty():
        typer.confirm("Delete all these messages for good?", abort=True)
    return _change(
        Action.DELETE,
        wanted,
        everything=everything,
        as_json=as_json,
        directory=directory,
        store=store,
    )


def _change(
    action: Action,
    wanted: Selection,
    *,
    everything: bool,
    as_json: bool,
    directory: Path | None,
    store: str | None,
) -> int:
    """Apply an action to the selected messages and print their number."""
    if wanted.empty and not everything:
        raise typer.TyperException(
            f"say which messages to {action}: ID..., --from, --to, --state, --older or --all"
        )
    applicable = APPLIES_TO[action]
    narrowed = replace(wanted, states=(wanted.states or applicable) & applicable)
    if not narrowed.states:
        return print_error(f"{action} does not apply to messages in that state")
    return with_store(directory, store, lambda s: _apply(s, action, narrowed, as_json=as_json))


async def _apply(store: Store, action: Action, wanted: Selection, *, as_json: bool) -> int:
    messages = [listed.id async for listed, _ in search.find(store, wanted, time.time())]
    if not messages:
        return print_error(f"there is nothing to {action}")
    messages.sort(key=arrival)
    with Progress(
        console=Console(stderr=True),
        transient=True,
        disable=len(messages) < _MANY_MESSAGES or not sys.stderr.isatty(),
    ) as progress:
        steps = progress.track(messages, description=action.value)
        result = await actions.apply(store, action, steps)
    for message, reason in result.failed.items():
        print_error(f"{message}: {reason}")
    missed = wanted.ids - set(messages)
    for message in sorted(missed):
        print_error(f"{message}: no such message to {action}")
    if as_json:
        _print_json(result)
    else:
        gone = f", {len(result.gone)} had moved on" if result.gone else ""
        print_line(f"{action}: {len(result.done)} of {counted(len(messages), 'message')}{gone}")
    return 1 if result.failed or missed or not result.done else os.EX_OK


def _print_json(result: ActionResult) -> None:
    for message in result.done:
        print_json({"id": message, "done": True, "problem": None})
    for message in result.gone:
        print_json({"id": message, "done": False, "problem": "had moved on"})
    for message, reason in result.failed.items():
        print_json({"id": message, "done": False, "problem": reason})
