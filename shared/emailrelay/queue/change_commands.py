"""The commands that change messages: flush, hold, release, retry, fail, delete."""

import os
import time
from argparse import Namespace
from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import StrEnum

from emailrelay.errors import StoreError
from emailrelay.queue import search
from emailrelay.queue.errors import print_error
from emailrelay.queue.open_store import with_store
from emailrelay.queue.options import selection
from emailrelay.queue.selection import Selection
from emailrelay.queue.state import State
from emailrelay.queue_id import QueueId, arrival
from emailrelay.store.base import Store
from emailrelay.terminal.confirm import confirmed
from emailrelay.terminal.output import counted, print_json, print_line
from emailrelay.terminal.progress import progress
from emailrelay.terminal.run_command import CommandLineError

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


_UNSENT = frozenset({State.UNFILTERED, State.READY, State.DEFERRED})
_APPLIES_TO = {
    Action.FLUSH: frozenset({State.DEFERRED}),
    Action.HOLD: _UNSENT,
    Action.RELEASE: frozenset({State.HELD}),
    Action.RETRY: frozenset({State.DEFERRED, State.HELD, State.FAILED}),
    Action.FAIL: _UNSENT | {State.HELD},
    Action.DELETE: frozenset(State),
}
"""The states that an action changes. Messages in other states are skipped."""


def change(asked: Namespace) -> int:
    """Carry out the command that has the action's name."""
    action, wanted = Action(asked.command), selection(asked)
    if wanted.empty and not asked.everything and action is not Action.FLUSH:
        raise CommandLineError(
            f"say which messages to {action}: ID..., --from, --to, --state, --older or --all"
        )
    applies_to = _APPLIES_TO[action]
    narrowed = replace(wanted, states=(wanted.states or applies_to) & applies_to)
    if not narrowed.states:
        return print_error(f"{action} does not apply to messages in that state")
    return with_store(asked, lambda s: _apply(s, action, narrowed, asked))


async def _apply(store: Store, action: Action, wanted: Selection, asked: Namespace) -> int:
    """Apply an action to each selected message; an error with one does not stop the others."""
    messages = [listed.id async for listed, _ in search.find(store, wanted, time.time())]
    if not messages:
        return print_error(f"there is nothing to {action}")
    if action is Action.DELETE and not wanted.ids and not asked.yes:
        if not confirmed(f"Delete {counted(len(messages), 'message')} for good?"):
            return print_error("nothing was deleted")
    messages.sort(key=arrival)
    act, problems = _method(store, action), dict[QueueId, str | None]()
    with progress(action.value, len(messages)) as step:
        for message in messages:
            try:
                problems[message] = None if await act(message) else _GONE
            except StoreError as error:
                problems[message] = str(error)
            step()
    found = list(problems.values())
    done, gone = found.count(None), found.count(_GONE)
    missed = wanted.ids - problems.keys()
    for message, problem in problems.items():
        if problem not in (None, _GONE):
            print_error(f"{message}: {problem}")
    for message in sorted(missed):
        print_error(f"{message}: no such message to {action}")
    if asked.json:
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
