"""The actions on messages, with a count and a confirmation before those that harm."""

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from math import isfinite
from urllib.parse import quote

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from emailrelay.queue.action import APPLIES_TO, Action
from emailrelay.queue.row import QueueRow
from emailrelay.queue_id import QueueId
from emailrelay_console.mail.page_selection import PageSelection
from emailrelay_console.mail.queue_index import Order
from emailrelay_console.web import forms
from emailrelay_console.web.access import session_of
from emailrelay_console.web.local_address import local
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.queue_params import read_selection
from emailrelay_console.web.render import console_of, render
from emailrelay_console.web.words import ACTION_WORDS, result_words

MOST_IDS = 500
_LONGEST_ID = 100
_SHOWN = 10
_PATIENCE = 1.0
"""Seconds that the answer waits for the end of a change."""
_HARMLESS = frozenset(Action) - {Action.FAIL, Action.DELETE}
"""Actions that need no confirmation for one message: another action undoes them."""


async def change(request: Request, form: FormData) -> Response:
    """Change messages, which ids or a selection name; ask before."""
    action = _action(form)
    if form.get("all") == "yes":
        return await _change_all(request, form, action)
    console, ids = console_of(request), _ids(form)
    if form.get("confirmed") != "yes" and not (len(ids) == 1 and action in _HARMLESS):
        rows = await console.queue.rows(ids)
        fit = [row for row in rows if row.state in APPLIES_TO[action]]
        kept = [("id", row.id) for row in fit]
        return _ask(request, form, action, count=len(fit), rows=fit, kept=kept)
    user = session_of(request).user.name
    number = await console.changes.of_some(action, ids, user)
    return await _end(request, form, number)


async def _change_all(request: Request, form: FormData, action: Action) -> Response:
    console = console_of(request)
    wanted, words = read_selection({name: str(value) for name, value in form.items()})
    narrowed = narrow(wanted, action)
    if form.get("confirmed") == "yes":
        narrowed = replace(narrowed, until=_until(form))
        user = session_of(request).user.name
        number = await console.changes.of_all(action, narrowed, user)
        return await _end(request, form, number)
    await console.queue.refresh_now()
    narrowed = replace(narrowed, until=console.clock())
    count = await console.queue.count(narrowed)
    ids = await console.queue.ids(narrowed, Order.OLDEST, first=0, most=_SHOWN)
    # Mail that arrives after the count is not meant.
    kept = [("all", "yes"), ("until", repr(narrowed.until)), *words.items()]
    rows = await console.queue.rows(ids)
    return _ask(request, form, action, count=count, rows=rows, kept=kept)


def narrow(wanted: PageSelection, action: Action) -> PageSelection:
    """Return the selection of the messages that the action applies to.

    Raises:
        Problem: there are none of that kind.

    """
    states = (wanted.states or APPLIES_TO[action]) & APPLIES_TO[action]
    if not states:
        raise Problem(
            400, f"{ACTION_WORDS[action].title} does not apply to messages in that state."
        )
    return replace(wanted, states=states)


def _ask(
    request: Request,
    form: FormData,
    action: Action,
    *,
    count: int,
    rows: list[QueueRow],
    kept: Sequence[tuple[str, str]],
) -> Response:
    return render(
        request,
        "confirm.html",
        action=action,
        count=count,
        rows=rows[:_SHOWN],
        kept=kept,
        back=_back(form),
    )


async def _end(request: Request, form: FormData, number: int) -> Response:
    console, back = console_of(request), _back(form)
    await console.changes.wait(number, _PATIENCE)
    done = console.changes.find(number)
    if done is None or not done.over.is_set() or done.problems:
        return RedirectResponse(f"/changes/{number}?back={quote(back)}", HTTPStatus.SEE_OTHER)
    session_of(request).notice = result_words(done)
    return RedirectResponse(back, HTTPStatus.SEE_OTHER)


async def show(request: Request) -> Response:
    """Show how far a change has come."""
    found = console_of(request).changes.find(int(request.path_params["number"]))
    if found is None:
        raise Problem(404, "There is no such change, or it ended long ago.")
    back = local(request.query_params.get("back", ""), "/queue")
    return render(request, "change.html", change=found, back=back, words=result_words(found))


def _action(form: FormData) -> Action:
    try:
        return Action(forms.text(form, "action", 20))
    except ValueError:
        raise Problem(400, f"action must be one of {', '.join(Action)}.") from None


def _ids(form: FormData) -> list[QueueId]:
    given = [each for each in form.getlist("id") if isinstance(each, str)]
    if not given:
        raise Problem(400, "No message is selected. Go back, and select some.")
    if len(given) > MOST_IDS or any(len(each) > _LONGEST_ID for each in given):
        raise Problem(400, f"A selection has at most {MOST_IDS} messages.")
    return [QueueId(each) for each in dict.fromkeys(given)]


def _until(form: FormData) -> float:
    try:
        until = float(forms.text(form, "until", 40))
    except ValueError:
        until = float("nan")
    if not isfinite(until):
        raise Problem(400, "until must be a time in seconds.")
    return until


def _back(form: FormData) -> str:
    return local(str(form.get("back", "")), "/queue")


ROUTES = [forms.post("/queue/change", change), Route("/changes/{number:int}", show)]
