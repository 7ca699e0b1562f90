"""The endpoints that read: queue, groups, totals, one message, trace and overview."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from starlette.requests import Request

from emailrelay import journal_format
from emailrelay.queue import time_line
from emailrelay.queue.grouping import Grouping
from emailrelay.queue.row import row
from emailrelay.queue.selection import trace_query
from emailrelay.queue_id import QueueId
from emailrelay_console.access.users import ConsoleUser
from emailrelay_console.api.endpoint import endpoint, number, parameters
from emailrelay_console.mail.traffic import total
from emailrelay_console.web.access import API
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.queue_params import SELECTION_NAMES, read_age, read_params
from emailrelay_console.web.render import console_of

MOST_ROWS = 1000
_MOST_FIRST = 10**8
_ROWS = 100
_LONGEST_ID = 100


async def queue(request: Request, _user: ConsoleUser) -> Any:
    """Return messages that match, and their number."""
    found = console_of(request).queue
    values = parameters(request, frozenset({*SELECTION_NAMES, "order", "first", "limit"}))
    first = number(values, "first", 0, _MOST_FIRST)
    limit = number(values, "limit", _ROWS, MOST_ROWS)
    params, state = read_params(values), await found.state()
    ids = await found.ids(params.wanted, params.order, first=first, most=limit)
    return {
        "count": await found.count(params.wanted),
        "complete": not state.unread and not found.trouble,
        "messages": [asdict(each) for each in await found.rows(ids)],
    }


async def groups(request: Request, _user: ConsoleUser) -> Any:
    """Return groups of the messages that match."""
    found = console_of(request).queue
    params = read_params(parameters(request, frozenset({*SELECTION_NAMES, "by"})))
    await found.state()
    by = params.by or Grouping.REPLY
    return {"groups": [asdict(each) for each in await found.groups(params.wanted, by)]}


async def totals(request: Request, _user: ConsoleUser) -> Any:
    """Return the totals of each state."""
    parameters(request, frozenset())
    found = console_of(request).queue
    await found.state()
    return {name: asdict(each) for name, each in (await found.totals()).items()}


async def message(request: Request, _user: ConsoleUser) -> Any:
    """Return a message of the queue, with its journal."""
    parameters(request, frozenset())
    console, wanted = console_of(request), str(request.path_params["id"])
    entries = await console.queue.entries([QueueId(wanted)]) if len(wanted) <= _LONGEST_ID else []
    if not entries:
        words = f"There is no such message in the queue. {API}/trace finds past ones."
        raise Problem(HTTPStatus.NOT_FOUND, words)
    (entry,) = entries
    return {
        **asdict(row(entry, console.clock())),
        "client": "" if entry.envelope is None else entry.envelope.client,
        "user": "" if entry.envelope is None else entry.envelope.authentication,
        "message_id": "" if entry.envelope is None else entry.envelope.message_id,
        "journal": list(map(journal_format.encode, entry.entries)),
    }


async def trace(request: Request, _user: ConsoleUser) -> Any:
    """Return what became of messages, including those that have left."""
    values = parameters(request, frozenset({"text", "since", "limit"}))
    console, now = console_of(request), console_of(request).clock()
    text = values.get("text", "").encode(errors="replace").decode()
    if not text or len(text) > 500:
        raise Problem(HTTPStatus.BAD_REQUEST, "text must have 1 to 500 characters.")
    age = read_age("since", values.get("since", ""))
    wanted = trace_query(text, None if age is None else now - age)
    most = number(values, "limit", _ROWS, MOST_ROWS) or 1
    found = await console.searches.find(wanted, text, shown=time_line.as_json, most=most)
    whole = not (found.cut or found.late or found.trouble)
    return {"complete": whole, "messages": found.messages}


async def overview(request: Request, _user: ConsoleUser) -> Any:
    """Return the facts of the first page."""
    parameters(request, frozenset())
    console = console_of(request)
    facts = await console.facts()
    rates = {
        name: {"hour": total(counts, facts.at - 3600), "day": total(counts, facts.at - 86400)}
        for name, counts in (
            ("received", facts.traffic.came),
            ("delivered", facts.traffic.delivered),
            ("failed", facts.traffic.failed),
            ("dropped", facts.traffic.dropped),
        )
    }
    return {
        "at": facts.at,
        "totals": {name: asdict(each) for name, each in facts.totals.items()},
        "rates": rates,
        "services": {name: asdict(each) for name, each in facts.services.items()},
        "routes": [asdict(each) for each in facts.routes],
        "accounts": {name: asdict(each) for name, each in facts.accounts.items()},
        "room": None if facts.room is None else {"free": facts.room[0], "all": facts.room[1]},
        "trouble": facts.trouble or facts.traffic.trouble,
    }


ROUTES = [
    endpoint("/queue", queue),
    endpoint("/queue/groups", groups),
    endpoint("/queue/totals", totals),
    endpoint("/messages/{id}", message),
    endpoint("/trace", trace),
    endpoint("/overview", overview),
]
