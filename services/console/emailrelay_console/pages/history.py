"""The search for what became of messages, as ``emailrelay-queue trace`` does it."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emailrelay.history_query import HistoryQuery
from emailrelay.queue.selection import parse_age, trace_query
from emailrelay_console.mail.past_search import MOST, SECONDS, found_message
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.render import console_of, render

_LONGEST = 500


async def show(request: Request) -> Response:
    """Show the form, and the messages that match."""
    console, asked = console_of(request), request.query_params
    text, since = asked.get("text", "").strip(), asked.get("since", "").strip()
    if len(text) > _LONGEST or not text.isprintable():
        raise Problem(400, f"The text has at most {_LONGEST} characters that can be printed.")
    result, bounds = None, await (await console.store.get()).history().bounds()
    if text:
        wanted = _query(text, since, console.clock())
        result = await console.searches.find(wanted, text, shown=found_message)
    return render(
        request,
        "history.html",
        text=text,
        since=since,
        result=result,
        bounds=bounds,
        most=MOST,
        seconds=SECONDS,
    )


def _query(text: str, since: str, now: float) -> HistoryQuery:
    try:
        earliest = now - parse_age(since) if since else None
    except ValueError:
        raise Problem(400, "Ended since must be an age, as in 15m, 12h, 5d or 2w.") from None
    return trace_query(text, earliest)


ROUTES = [Route("/history", show)]
