"""The queue as a table."""

from itertools import islice

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emailrelay.queue.row import QueueRow, row
from emailrelay.store.queue_view import QueueView
from emailrelay_console.web.render import console_of, render

_ROWS = 50


async def show(request: Request) -> Response:
    """Show the oldest messages."""
    console = console_of(request)
    now = console.clock()

    def read(view: QueueView) -> list[QueueRow]:
        return [row(entry, now) for entry in view.entries(islice(view.listing(), _ROWS))]

    return render(request, "queue.html", rows=await console.reader.read(read))


ROUTES = [Route("/queue", show)]
