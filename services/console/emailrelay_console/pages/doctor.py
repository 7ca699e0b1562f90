"""The examination of the servers of a route, step by step."""

from http import HTTPStatus

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from emailrelay.errors import ConfigError
from emailrelay.events.console import ConsoleExamination
from emailrelay_console.mail.doctor import SECONDS
from emailrelay_console.mail.host_settings import read_routes
from emailrelay_console.web import forms
from emailrelay_console.web.access import session_of
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.render import console_of, render

_MOST_ROUTES = 1000
_LONGEST = 320


async def show(request: Request) -> Response:
    """Show the form, and the latest examination."""
    try:
        names, trouble = await _names(), ""
    except ConfigError as error:
        names, trouble = [], str(error)
    visit = console_of(request).doctor.latest
    return render(
        request, "doctor.html", names=names, trouble=trouble, visit=visit, seconds=SECONDS
    )


async def examine(request: Request, form: FormData) -> Response:
    """Begin an examination."""
    console, user = console_of(request), session_of(request).user.name
    route = forms.text(form, "route", 200)
    sender, recipient = _address(form, "sender"), _address(form, "recipient")
    # Names of routes only: a free choice of hosts and ports would let users probe networks.
    if route and route not in await _names():
        raise Problem(400, "There is no route of this name. Open the page again.")
    console.doctor.begin(route, sender, recipient, user)
    console.report(ConsoleExamination(route=route, user=user))
    return RedirectResponse("/doctor", HTTPStatus.SEE_OTHER)


async def _names() -> list[str]:
    routes = await read_routes()
    listed = [*([routes.default] if routes.default else []), *routes.listed]
    return [route.name for route in listed][:_MOST_ROUTES]


def _address(form: FormData, name: str) -> str:
    text = forms.text(form, name, _LONGEST).strip().removeprefix("<").removesuffix(">")
    if not text.isprintable():
        raise Problem(400, f"{name} has a character that cannot be printed.")
    return text


ROUTES = [Route("/doctor", show), forms.post("/doctor", examine)]
