"""The commands that change messages: flush, hold, release, retry, fail, delete."""

import os
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace

from emailrelay.queue import search
from emailrelay.queue.action import APPLIES_TO, GONE, QUESTIONS, Action, objection
from emailrelay.queue.errors import print_error
from emailrelay.queue.options import TABLE_ROWS, selection
from emailrelay.queue.place import look
from emailrelay.queue.row import QueueRow, row
from emailrelay.queue.selection import Selection
from emailrelay.queue.state import state_of
from emailrelay.queue.view_commands import print_rows, whole, with_count
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.terminal.ask import confirmed
from emailrelay.terminal.output import counted, print_json, print_line
from emailrelay.terminal.run_command import CommandLineError


def change(asked: Namespace) -> int:
    """Carry out the command that has the action's name."""
    action, wanted = Action(asked.command), selection(asked)
    if wanted.empty and not asked.everything and action is not Action.FLUSH:
        raise CommandLineError(
            f"say which messages to {action}: ID..., --from, --to, --state, --reply, --route,"
            " --older, --newer or --all"
        )
    applies_to = APPLIES_TO[action]
    narrowed = replace(wanted, states=(wanted.states or applies_to) & applies_to)
    if not narrowed.states:
        return print_error(f"{action} does not apply to messages in that state")
    if asked.dry_run:
        return _show(action, narrowed, asked)
    messages = _chosen(asked, narrowed)
    if not messages and not narrowed.ids:
        return print_error(f"there is nothing to {action}")
    by_ids = wanted.ids and replace(wanted, ids=frozenset()).empty
    if messages and not by_ids and not asked.yes and action in QUESTIONS:
        question = QUESTIONS[action].format(counted(len(messages), "message"))
        if not confirmed(question):
            return print_error("nothing was changed")
    problems = _done(asked, action, messages)
    missed = _missed(asked, action, narrowed.ids - problems.keys())
    return _report(action, problems, missed, as_json=asked.json)


def _chosen(asked: Namespace, wanted: Selection) -> list[QueueId]:
    """Return the ids of the selected messages, the oldest first."""
    now = time.time()
    with look(asked) as view:
        if wanted.names_suffice:
            found = [message.id for message in search.listed(view, wanted, now)]
        else:
            entries = with_count(search.select(view, wanted, now))
            found = [entry.listed.id for entry in entries]
        whole(view)
    return found


def _show(action: Action, wanted: Selection, asked: Namespace) -> int:
    """Print the messages that would be changed."""
    now, number, rows = time.time(), 0, list[QueueRow]()
    with look(asked) as view:
        for entry in with_count(search.select(view, wanted, now)):
            number += 1
            if asked.json:
                print_json({"id": entry.listed.id, "done": False, "problem": None})
            elif len(rows) < TABLE_ROWS:
                rows.append(row(entry, now))
        whole(view)
    if not number:
        return print_error(f"there is nothing to {action}")
    if rows:
        print_rows(rows, now, wide=False)
        more = f"; the oldest {TABLE_ROWS:,} are shown" if number > TABLE_ROWS else ""
        print_line(f"{action}: would change {counted(number, 'message')}{more}")
    return os.EX_OK


def _done(
    asked: Namespace, action: Action, messages: Sequence[QueueId]
) -> Mapping[QueueId, str | None]:
    """Apply the action; return the problem of each message, None: it was done."""
    if not messages:
        return {}
    # To import the stores takes longer than to find out that nothing is to be done.
    from emailrelay.queue.apply import apply  # noqa: PLC0415

    return apply(asked, action, messages)


def _missed(asked: Namespace, action: Action, ids: frozenset[QueueId]) -> Mapping[QueueId, str]:
    """Say of each message that was named and not found why the action does not apply to it."""
    reasons = dict.fromkeys(sorted(ids), f"no such message to {action}")
    if not ids:
        return reasons
    now = time.time()
    with look(asked) as view:
        for listed in view.listing(tuple(Stage), ids):
            reason = objection(action, state_of(listed.stage, listed.since, now))
            reasons[listed.id] = reason or reasons[listed.id]
    return reasons


def _report(
    action: Action,
    problems: Mapping[QueueId, str | None],
    missed: Mapping[QueueId, str],
    *,
    as_json: bool,
) -> int:
    found = list(problems.values())
    done, gone = found.count(None), found.count(GONE)
    for message, problem in problems.items():
        if problem not in (None, GONE):
            print_error(f"{message}: {problem}")
    for message, reason in missed.items():
        print_error(f"{message}: {reason}")
    if as_json:
        for message, problem in problems.items():
            print_json({"id": message, "done": problem is None, "problem": problem})
    elif problems:
        moved = f", {gone:,} {GONE}" if gone else ""
        print_line(f"{action}: {done:,} of {counted(len(found), 'message')}{moved}")
    return 1 if done + gone < len(found) or missed or not done else os.EX_OK
