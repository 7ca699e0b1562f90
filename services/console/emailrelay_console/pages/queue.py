"""The queue as a table, or as groups of messages that have something in common."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emailrelay.queue.grouping import Grouping
from emailrelay.queue.state import State
from emailrelay_console.mail.queue_index import MOST_GROUPS, UNREAD, Order
from emailrelay_console.web.queue_params import QueueParams, read_params
from emailrelay_console.web.render import console_of, render

ROWS = 50
"""Messages on a page."""
_FILTERS = {
    Grouping.REPLY: "reply",
    Grouping.STATE: "state",
    Grouping.SENDER: "sender",
    Grouping.DOMAIN: "recipient",
    Grouping.ROUTE: "route",
}


async def show(request: Request) -> Response:
    """Show a page of messages, or the groups."""
    queue, params = console_of(request).queue, read_params(request.query_params)
    state, totals = await queue.state(), await queue.totals()
    shared = {
        "params": params,
        "index": state,
        "totals": totals,
        "trouble": queue.trouble,
        "states": list(State),
        "orders": list(Order),
        "groupings": list(Grouping),
    }
    if params.by is not None:
        found = await queue.groups(params.wanted, params.by)
        links = [(each, _link(params, params.by, each.group)) for each in found]
        return render(request, "queue_groups.html", groups=links, most=MOST_GROUPS, **shared)
    count = await queue.count(params.wanted)
    last = max(1, -(-count // ROWS))
    first = (min(params.page, last) - 1) * ROWS
    ids = await queue.ids(params.wanted, params.order, first=first, most=ROWS)
    rows = await queue.rows(ids)
    page = params._replace(page=min(params.page, last))
    return render(
        request, "queue.html", rows=rows, count=count, last=last, **{**shared, "params": page}
    )


def _link(params: QueueParams, by: Grouping, group: str) -> str:
    """Return the address of the messages of a group; empty: no selection finds them."""
    if not group or group == UNREAD:
        return ""
    name = f"*@{group}" if by is Grouping.DOMAIN else group
    return params.query(by="", **{_FILTERS[by]: name})


ROUTES = [Route("/queue", show)]
