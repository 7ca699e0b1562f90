"""Turns every error into a page, never into a traceback."""

import json
from http import HTTPStatus
from traceback import format_exception

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emailrelay.errors import ConfigError, RelayError, StoreUnusable, reason_of
from emailrelay.events.service import InternalError, Traceback
from emailrelay_console.access.users import UsersUnusable
from emailrelay_console.mail.changes import TooManyChanges
from emailrelay_console.mail.doctor import DoctorBusy
from emailrelay_console.mail.past_search import SearchBusy
from emailrelay_console.mail.reader import ReaderBusy
from emailrelay_console.web.access import is_api, path_of
from emailrelay_console.web.live import TooManyBrowsers
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.render import console_of, render

_SOON = 10
"""Seconds after which a client may try again."""


class ErrorPages:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except ClientDisconnect:  # the client does not wait for an answer
            return
        except Exception as error:  # noqa: BLE001 -- this is the edge: no error goes further
            request = Request(scope)
            problem = _problem_of(error)
            if problem.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
                _report(request, error)
            if not started:
                await page(request, problem)(scope, receive, send)


async def answer(request: Request, error: Exception) -> Response:
    """Return the page about an error that starlette has raised, such as an unknown path."""
    return page(request, _problem_of(error))


def page(request: Request, problem: Problem) -> Response:
    """Return the page about a problem; programs get it in JSON (RFC 9457)."""
    if is_api(request):
        fields = {"title": problem.title, "status": problem.status_code, "detail": problem.detail}
        text = json.dumps({"type": "about:blank", **fields})
        kind = "application/problem+json"
        return Response(text, problem.status_code, problem.headers, media_type=kind)
    made = render(request, "problem.html", problem=problem)
    made.status_code = problem.status_code
    made.headers.update(problem.headers or {})
    return made


def _report(request: Request, error: Exception) -> None:
    doing = f"{request.method} {path_of(request)}"
    report = console_of(request).report
    report(InternalError(doing=doing, reason=repr(error)))
    report(Traceback(text="".join(format_exception(error))))


def _problem_of(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return Problem(HTTPStatus.NOT_FOUND, "There is no such page.")
        case HTTPException():
            return Problem(error.status_code, error.detail)
        case ReaderBusy() | TooManyChanges() | TooManyBrowsers() | SearchBusy() | DoctorBusy():
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after=_SOON)
        case StoreUnusable() | ConfigError() | UsersUnusable():
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        case RelayError() | OSError():
            words = f"The store cannot be used now: {reason_of(error)}"
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, words, retry_after=_SOON)
        case _:
            words = "The console has failed. Its log has the reason; mail is not affected."
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, words)
