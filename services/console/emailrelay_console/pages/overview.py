"""The first page: what comes in, goes out and waits, and whether all works; it is live."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from emailrelay_console.console import Console
from emailrelay_console.mail.overview import OverviewFacts
from emailrelay_console.mail.traffic import total
from emailrelay_console.web.access import session_still_open
from emailrelay_console.web.chart import HEIGHT, WIDTH, chart
from emailrelay_console.web.live import Live
from emailrelay_console.web.render import console_of, fragment, render

_HOUR, _DAY = 3600.0, 86400.0


async def show(request: Request) -> Response:
    """Show the overview."""
    console = console_of(request)
    return render(request, "overview.html", **_values(await console.facts()))


async def live(request: Request) -> Response:
    """Stream the overview."""
    updates: Live = request.app.state.live
    updates.reserve()
    events = updates.events(session_still_open(request))
    return StreamingResponse(events, media_type="text/event-stream")


async def live_part(console: Console) -> str:
    """Return the part of the page that is sent again and again."""
    facts = await console.facts()
    return fragment("overview_live.html", now=facts.at, **_values(facts))


def _values(facts: OverviewFacts) -> Mapping[str, Any]:
    rates = [
        (
            name,
            total(counts, facts.at - _HOUR),
            total(counts, facts.at - _DAY),
            chart(counts, facts.at),
        )
        for name, counts in (
            ("Came in", facts.traffic.came),
            ("Delivered", facts.traffic.delivered),
            ("Failed, and kept", facts.traffic.failed),
            ("Dropped or deleted", facts.traffic.dropped),
        )
    ]
    return {"facts": facts, "rates": rates, "width": WIDTH, "height": HEIGHT}


ROUTES = [Route("/", show), Route("/live", live)]
