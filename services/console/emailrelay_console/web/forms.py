"""Reads forms: small ones only, and only those with the token of the session (CSRF)."""

import secrets
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emailrelay_console.web.access import SIGN_IN, find_session, path_of
from emailrelay_console.web.problem import Problem

MOST_FIELDS = 2000
TOKEN = "form_token"  # noqa: S105 -- the name of a field

FormAnswer: TypeAlias = Callable[[Request, FormData], Awaitable[Response]]


def post(path: str, action: FormAnswer) -> Route:
    """Return the route of a form: ``action`` gets the form if its token is right.

    Only operators get here, see ``web.access``.
    """

    async def endpoint(request: Request) -> Response:
        return await action(request, await _form(request))

    return Route(path, endpoint, methods=["POST"], name=path)


async def _form(request: Request) -> FormData:
    session = find_session(request)
    if session is None and path_of(request) != SIGN_IN:
        raise Problem(401, "Your session is over. Sign in again, and repeat.")
    form = await request.form(max_files=0, max_fields=MOST_FIELDS)
    if session is not None:
        sent = form.get(TOKEN)
        if not isinstance(sent, str) or not secrets.compare_digest(
            sent.encode(errors="replace"), session.form_token.encode()
        ):
            raise Problem(403, "This form is too old. Open the page again, and repeat.")
    return form


def text(form: FormData, name: str, most: int = 1000) -> str:
    """Return a field of a form.

    Raises:
        Problem: it is missing, or longer than ``most`` characters.

    """
    value = form.get(name)
    if not isinstance(value, str):
        raise Problem(400, f"The form has no field {name}.")
    if len(value) > most:
        raise Problem(400, f"{name} has at most {most} characters.")
    return value
