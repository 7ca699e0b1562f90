"""The application: its pages, and what surrounds them."""

import socket
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from emailrelay.config import ConsoleSettings
from emailrelay.errors import ConfigError
from emailrelay.events.event import Report
from emailrelay.login_attempts import LoginAttempts
from emailrelay.service import Signals
from emailrelay.store.chooser import open_store
from emailrelay.store.quick_chooser import view_at
from emailrelay_console.access.sessions import Sessions
from emailrelay_console.access.tokens import Tokens
from emailrelay_console.access.users import Users
from emailrelay_console.api import changing, description, reading
from emailrelay_console.console import Console
from emailrelay_console.http_server import serve
from emailrelay_console.mail.changes import Changes
from emailrelay_console.mail.doctor import Doctor
from emailrelay_console.mail.overview import Overview
from emailrelay_console.mail.past_search import PastSearch
from emailrelay_console.mail.queue import Queue
from emailrelay_console.mail.queue_index import QueueIndex
from emailrelay_console.mail.queue_refresh import QueueRefresh
from emailrelay_console.mail.reader import QueueReader
from emailrelay_console.mail.routes import known_routes
from emailrelay_console.mail.store_holder import StoreHolder
from emailrelay_console.mail.traffic import Traffic
from emailrelay_console.pages import (
    accounts,
    change,
    doctor,
    history,
    message,
    overview,
    queue,
    received,
    routes,
    sign_in,
    static,
)
from emailrelay_console.web import errors
from emailrelay_console.web.access import Access
from emailrelay_console.web.bounds import RequestBounds
from emailrelay_console.web.live import Live
from emailrelay_console.web.security_headers import SecurityHeaders


@asynccontextmanager
async def open_console(settings: ConsoleSettings, report: Report) -> AsyncGenerator[Console]:
    """Open what the pages use, and close it at the end."""
    if settings.console_auth is None:
        raise ConfigError(["console_auth is not set"])
    users = Users(settings.console_auth)
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
            traffic = Traffic(store, index, time.time)
            stack.push_async_callback(traffic.close)
            changes = Changes(store, queue, report=report, clock=time.time, routes_of=routes_of)
            yield Console(
                settings=settings,
                report=report,
                users=users,
                tokens=Tokens(users),
                sessions=Sessions(time.monotonic),
                attempts=LoginAttempts(time.monotonic),
                reader=reader,
                queue=queue,
                changes=await stack.enter_async_context(changes),
                overview=Overview(queue, traffic, settings.runtime_dir, settings.monitored),
                searches=PastSearch(store, queue, time.time),
                doctor=await stack.enter_async_context(Doctor(time.time, _store_options(settings))),
                store=store,
                clock=time.time,
            )
    finally:
        refresh.close()
        reader.close()


def _store_options(settings: ConsoleSettings) -> list[str]:
    named = [] if settings.store is None else [f"--store={settings.store}"]
    return [*named, f"--spool-dir={settings.spool_dir}"]


async def serve_console(
    settings: ConsoleSettings, sockets: Sequence[socket.socket], signals: Signals, report: Report
) -> None:
    """Serve on sockets that listen already, until the process is told to stop."""
    async with open_console(settings, report) as console:
        live = Live(partial(overview.live_part, console))
        await serve(make_app(console, live), sockets, signals, live.close)


def make_app(console: Console, live: Live) -> Starlette:
    """Return the application. A new page has its module in this list."""
    around = (overview, sign_in, received, static)
    pages = (*around, queue, change, message, history, routes, doctor, accounts)
    endpoints = (reading, changing, description)
    app = Starlette(
        routes=[route for each in (*pages, *endpoints) for route in each.ROUTES],
        middleware=[
            Middleware(SecurityHeaders, encrypted=console.encrypted),
            Middleware(errors.ErrorPages),
            Middleware(RequestBounds),
            Middleware(Access, console),
        ],
        exception_handlers={HTTPException: errors.answer},
    )
    app.state.console, app.state.live = console, live
    return app
