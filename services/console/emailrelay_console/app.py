"""The application: its pages, and what stands around them."""

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from emailrelay.config import ConsoleSettings
from emailrelay.errors import ConfigError
from emailrelay.events import Report
from emailrelay.login_attempts import LoginAttempts
from emailrelay.store.chooser import open_store
from emailrelay.store.quick_chooser import view_at
from emailrelay_console.access.sessions import Sessions
from emailrelay_console.access.users import Users
from emailrelay_console.console import Console
from emailrelay_console.mail.changes import Changes
from emailrelay_console.mail.queue import Queue
from emailrelay_console.mail.queue_index import QueueIndex
from emailrelay_console.mail.queue_refresh import QueueRefresh
from emailrelay_console.mail.reader import QueueReader
from emailrelay_console.mail.routes import known_routes
from emailrelay_console.mail.store_holder import StoreHolder
from emailrelay_console.pages import change, queue, sign_in, static
from emailrelay_console.web import errors
from emailrelay_console.web.access import Access
from emailrelay_console.web.bounds import RequestBounds
from emailrelay_console.web.security_headers import SecurityHeaders


@asynccontextmanager
async def open_console(settings: ConsoleSettings, report: Report) -> AsyncGenerator[Console]:
    """Open what the pages use, and close it at the end."""
    if settings.console_auth is None:
        raise ConfigError(["console_auth is not set"])
    place, fallback = settings.store_place, settings.store_fallback
    opens = partial(view_at, place, fallback=fallback, report=report)
    routes_of = known_routes()
    reader, index = QueueReader(opens), QueueIndex(routes_of)
    refresh = QueueRefresh(opens, index)
    queue = Queue(reader, index, refresh, time.time)
    try:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(
                StoreHolder(partial(open_store, place, report=report, fallback=fallback))
            )
            changes = Changes(store, queue, report=report, clock=time.time, routes_of=routes_of)
            yield Console(
                settings=settings,
                report=report,
                users=Users(settings.console_auth),
                sessions=Sessions(time.monotonic),
                attempts=LoginAttempts(time.monotonic),
                reader=reader,
                queue=queue,
                changes=await stack.enter_async_context(changes),
                store=store,
                clock=time.time,
            )
    finally:
        refresh.close()
        reader.close()


def make_app(console: Console) -> Starlette:
    """Return the application. A new page has its module in this list."""
    pages = (sign_in, queue, change, static)
    app = Starlette(
        routes=[Route("/", _first), *(route for page in pages for route in page.ROUTES)],
        middleware=[
            Middleware(SecurityHeaders, encrypted=console.encrypted),
            Middleware(errors.ErrorPages),
            Middleware(RequestBounds),
            Middleware(Access, console),
        ],
        exception_handlers={HTTPException: errors.answer},
    )
    app.state.console = console
    return app


async def _first(_request: Request) -> Response:
    return RedirectResponse("/queue", 303)
