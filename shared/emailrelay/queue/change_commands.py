"""The commands that change messages: flush, hold, release, retry, fail, delete."""

import inspect
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import Progress

from emailrelay.errors import StoreError
from emailrelay.queue import search
from emailrelay.queue.errors import print_error
from emailrelay.queue.open_store import with_store
from emailrelay.queue.options import (
    All,
    Ids,
    Older,
    Recipient,
    Sender,
    States,
    StoreUrl,
    selection,
)
from emailrelay.queue.selection import Selection
from emailrelay.queue.state import State
from emailrelay.queue_id import QueueId, arrival
from emailrelay.store.base import Store
from emailrelay.terminal.screen import counted, print_json, print_line
from emailrelay.terminal.typer_command import Json, SpoolDir

_MANY_MESSAGES = 200
"""From this number of messages on, a progress bar is shown."""
_GONE = "had moved on"
"""Another process delivered the message or changed its state first."""


class Action(StrEnum):
    """An action of the operator; the value is the command's name."""

    FLUSH = "flush"
    HOLD = "hold"
    RELEASE = "release"
    RETRY = "retry"
    FAIL = "fail"
    DELETE = "delete"


class _Rule(NamedTuple):
    summary: str
    applies_to: frozenset[State]
    """The states that the action changes. Messages in other states are skipped."""
    without: frozenset[str] = frozenset({"yes"})
    """The parameters that the command does not have."""


_UNSENT = frozenset({State.UNFILTERED, State.READY, State.DEFERRED})
_RULES = {
    Action.FLUSH: _Rule(
        "Try deferred messages now; their age continues.",
        frozenset({State.DEFERRED}),
        without=frozenset({"states", "everything", "yes"}),
    ),
    Action.HOLD: _Rule("Hold messages until you release them.", _UNSENT),
    Action.RELEASE: _Rule(
        "Release held messages; their age starts again.",
        frozenset({State.HELD}),
        without=frozenset({"states", "yes"}),
    ),
    Action.RETRY: _Rule(
        "Retry failed, held or deferred messages; their age starts again.",
        frozenset({State.DEFERRED, State.HELD, State.FAILED}),
    ),
    Action.FAIL: _Rule(
        "Give up messages: keep them as failed, and tell their senders.", _UNSENT | {State.HELD}
    ),
    Action.DELETE: _Rule(
        "Delete messages for good, without a notice to the sender.",
        frozenset(State),
        without=frozenset(),
    ),
}


def _command(action: Action, rule: _Rule) -> Callable[..., int]:
    def command(
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
        wanted = selection(ids=ids, sender=sender, recipient=recipient, states=states, older=older)
        if action is Action.DELETE and not wanted.ids and not yes and sys.stdin.isatty():
            typer.confirm("Delete all these messages for good?", abort=True)
        if wanted.empty and not everything and action is not Action.FLUSH:
            raise typer.TyperException(
                f"say which messages to {action}: ID..., --from, --to, --state, --older or --all"
            )
        narrowed = replace(wanted, states=(wanted.states or rule.applies_to) & rule.applies_to)
        if not narrowed.states:
            return print_error(f"{action} does not apply to messages in that state")
        return with_store(directory, store, lambda s: _apply(s, action, narrowed, as_json=as_json))

    command.__doc__ = rule.summary
    # Typer makes the options from the signature.
    whole = inspect.signature(command)
    kept = [entry for name, entry in whole.parameters.items() if name not in rule.without]
    vars(command)["__signature__"] = whole.replace(parameters=kept)
    return command


COMMANDS: Mapping[Action, Callable[..., int]] = MappingProxyType(
    {action: _command(action, rule) for action, rule in _RULES.items()}
)
"""The commands, in the order of the help."""


async def _apply(store: Store, action: Action, wanted: Selection, *, as_json: bool) -> int:
    """Apply an action to each selected message; an error with one does not stop the others."""
    messages = [listed.id async for listed, _ in search.find(store, wanted, time.time())]
    if not messages:
        return print_error(f"there is nothing to {action}")
    messages.sort(key=arrival)
    act, problems = _method(store, action), dict[QueueId, str | None]()
    with Progress(
        console=Console(stderr=True),
        transient=True,
        disable=len(messages) < _MANY_MESSAGES or not sys.stderr.isatty(),
    ) as progress:
        for message in progress.track(messages, description=action.value):
            try:
                problems[message] = None if await act(message) else _GONE
            except StoreError as error:
                problems[message] = str(error)
    found = list(problems.values())
    done, gone = found.count(None), found.count(_GONE)
    missed = wanted.ids - problems.keys()
    for message, problem in problems.items():
        if problem not in (None, _GONE):
            print_error(f"{message}: {problem}")
    for message in sorted(missed):
        print_error(f"{message}: no such message to {action}")
    if as_json:
        for message, problem in problems.items():
            print_json({"id": message, "done": problem is None, "problem": problem})
    else:
        moved = f", {gone} {_GONE}" if gone else ""
        print_line(f"{action}: {done} of {counted(len(messages), 'message')}{moved}")
    return 1 if done + gone < len(found) or missed or not done else os.EX_OK


def _method(store: Store, action: Action) -> Callable[[QueueId], Awaitable[bool]]:
    return {
        Action.FLUSH: store.flush,
        Action.HOLD: store.hold,
        Action.RELEASE: store.retry,
        Action.RETRY: store.retry,
        Action.FAIL: store.fail,
        Action.DELETE: store.delete,
    }[action]
