"""The pages for signing in and out."""

import asyncio
from http import HTTPStatus

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from emailrelay.client_source import source_of
from emailrelay.events.console import ConsoleLogin, ConsoleLoginFailed
from emailrelay_console.console import Console
from emailrelay_console.web import forms
from emailrelay_console.web.access import SIGN_IN, SIGN_OUT, cookie_name, find_session
from emailrelay_console.web.local_address import local
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.proxy import client_of
from emailrelay_console.web.render import console_of, render

_PAUSE = 1.0
"""Seconds for which a failure of a source counts as under way, times the number of its failures."""


async def show(request: Request) -> Response:
    """Show the form."""
    if find_session(request) is not None:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    return render(request, "sign_in.html", next=request.query_params.get("next", ""), wrong=False)


async def sign_in(request: Request, form: FormData) -> Response:
    """Begin a session if the password is right. Failures slow down further attempts."""
    console, name = console_of(request), forms.text(form, "name", 200)
    target = forms.text(form, "next", 2000)
    client = client_of(request)
    attempt = console.attempts.begin(source_of(client), name)
    if attempt is None:
        words = "There are too many attempts to sign in. Wait a minute, and try again."
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, words, retry_after=60)
    try:
        user = await console.users.sign_in(name, forms.text(form, "password", 1000))
    except BaseException:
        attempt.end()
        raise
    if user is None:
        pause = _PAUSE * console.attempts.failed(source_of(client), name)
        asyncio.get_running_loop().call_later(pause, attempt.end)
        console.report(ConsoleLoginFailed(user=name, client=client))
        page = render(request, "sign_in.html", next=target, wrong=True)
        page.status_code = HTTPStatus.UNAUTHORIZED
        return page
    attempt.end()
    console.attempts.succeeded(source_of(client), name)
    console.report(ConsoleLogin(user=user.name, role=user.role.value, client=client))
    token = console.sessions.begin(user, console.users.generation)
    return _with_cookie(RedirectResponse(local(target, "/"), HTTPStatus.SEE_OTHER), console, token)


async def sign_out(request: Request, _form: FormData) -> Response:
    """End the session."""
    console = console_of(request)
    console.sessions.end(request.cookies.get(cookie_name(console), ""))
    answer = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER)
    answer.delete_cookie(cookie_name(console), secure=console.encrypted, httponly=True)
    return answer


def _with_cookie(answer: Response, console: Console, token: str) -> Response:
    answer.set_cookie(
        cookie_name(console), token, secure=console.encrypted, httponly=True, samesite="strict"
    )
    return answer


ROUTES = [Route(SIGN_IN, show), forms.post(SIGN_IN, sign_in), forms.post(SIGN_OUT, sign_out)]
