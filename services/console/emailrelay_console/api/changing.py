"""The endpoints that change messages, and tell how far a change has come."""

from dataclasses import replace
from http import HTTPStatus
from typing import Any

from starlette.requests import Request

from emailrelay.queue.action import APPLIES_TO, Action
from emailrelay.queue_id import QueueId
from emailrelay_console.access.users import ConsoleUser
from emailrelay_console.api.endpoint import body, endpoint, parameters
from emailrelay_console.mail.change import MessageChange
from emailrelay_console.mail.page_selection import PageSelection
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.queue_params import SELECTION_NAMES, read_selection
from emailrelay_console.web.render import console_of

MOST_IDS = 1000
_LONGEST_ID = 100
_PATIENCE = 2.0
"""Seconds that the answer waits for the end of a change."""


async def change(request: Request, user: ConsoleUser) -> Any:
    """Change the messages with these ids, or those that a selection finds; or only count them."""
    parameters(request, frozenset())
    known = {"action": str, "ids": list, "filter": dict, "dry_run": bool}
    asked = await body(request, known)
    action = _action(asked.get("action"))
    if ("ids" in asked) is ("filter" in asked):
        raise Problem(HTTPStatus.BAD_REQUEST, "Send either ids or filter; {} is every message.")
    console, dry = console_of(request), asked.get("dry_run", False)
    if "ids" in asked:
        ids = _ids(asked["ids"])
        if dry:
            rows = await console.queue.rows(ids)
            return {"count": sum(row.state in APPLIES_TO[action] for row in rows)}
        number = await console.changes.of_some(action, ids, user.name)
    else:
        await console.queue.refresh_now()
        wanted = replace(_selection(asked["filter"], action), until=console.clock())
        if dry:
            return {"count": await console.queue.count(wanted)}
        number = await console.changes.of_all(action, wanted, user.name)
    await console.changes.wait(number, _PATIENCE)
    found = console.changes.find(number)
    return {"change": number, **({} if found is None else _progress(found))}


async def show(request: Request, _user: ConsoleUser) -> Any:
    """Tell how far a change has come."""
    parameters(request, frozenset())
    number = str(request.path_params["number"])
    known = number.isascii() and number.isdecimal() and len(number) < 10
    found = console_of(request).changes.find(int(number)) if known else None
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no such change, or it ended long ago.")
    return {"change": int(number), **_progress(found)}


def _progress(found: MessageChange) -> dict[str, Any]:
    return {
        "action": found.action.value,
        "user": found.user,
        "total": found.total,
        "done": found.done,
        "passed": found.passed,
        "failed": found.failed,
        "problems": list(found.problems),
        "ended": found.over.is_set(),
    }


def _action(word: object) -> Action:
    try:
        return Action(str(word))
    except ValueError:
        words = f"action must be one of {', '.join(Action)}."
        raise Problem(HTTPStatus.BAD_REQUEST, words) from None


def _ids(given: list[object]) -> list[QueueId]:
    words = [each for each in given if isinstance(each, str) and 0 < len(each) <= _LONGEST_ID]
    if not given or len(words) < len(given) or len(given) > MOST_IDS:
        text = f"ids must be 1 to {MOST_IDS} texts of at most {_LONGEST_ID} characters."
        raise Problem(HTTPStatus.BAD_REQUEST, text)
    return [QueueId(each) for each in dict.fromkeys(words)]


def _selection(given: dict[str, object], action: Action) -> PageSelection:
    for name, value in given.items():
        if name not in SELECTION_NAMES or not isinstance(value, str):
            words = f"filter has texts with the names {', '.join(SELECTION_NAMES)}."
            raise Problem(HTTPStatus.BAD_REQUEST, words)
    wanted, _ = read_selection({name: str(value) for name, value in given.items()})
    states = (wanted.states or APPLIES_TO[action]) & APPLIES_TO[action]
    if not states:
        words = f"{action} does not apply to messages in that state."
        raise Problem(HTTPStatus.BAD_REQUEST, words)
    return replace(wanted, states=states)


ROUTES = [
    endpoint("/queue/changes", change, method="POST"),
    endpoint("/queue/changes/{number}", show),
]
