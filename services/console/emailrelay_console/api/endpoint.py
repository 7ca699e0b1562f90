"""The endpoints of the API: the user of the token, the parameters, and the JSON answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emailrelay.client_source import source_of
from emailrelay.events.console import ConsoleLoginFailed
from emailrelay_console.access.tokens import LONGEST
from emailrelay_console.access.users import ConsoleUser
from emailrelay_console.console import Console
from emailrelay_console.web.access import API
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.proxy import client_of
from emailrelay_console.web.render import console_of

_PAUSE = 1.0
"""Seconds for which a wrong token of a source counts as under way, times their number."""

ApiAnswer: TypeAlias = Callable[[Request, ConsoleUser], Awaitable[Any]]
"""Returns the values of an answer."""


def endpoint(path: str, answer: ApiAnswer, *, method: str = "GET") -> Route:
    """Return the route of ``answer``: only owners of a token get one, and only operators change."""

    async def respond(request: Request) -> Response:
        user = await _user(console_of(request), request)
        if method != "GET" and not user.operates:
            raise Problem(HTTPStatus.FORBIDDEN, "This token belongs to a viewer.")
        return as_json(await answer(request, user))

    return Route(f"{API}{path}", respond, methods=[method])


def as_json(values: Any) -> Response:
    """Return values as JSON, in ASCII: an octet that is no UTF-8 stays an escape."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return Response(text, media_type="application/json")


async def body(request: Request, known: Mapping[str, type]) -> dict[str, Any]:
    """Read an object with members of these types; each may be left out.

    Raises:
        Problem: it is another value, or has other members.

    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send application/json.")
    try:
        value: object = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise Problem(HTTPStatus.BAD_REQUEST, "The body is not JSON.") from None
    if not isinstance(value, dict):
        raise Problem(HTTPStatus.BAD_REQUEST, "The body must be an object.")
    members = cast("dict[str, Any]", value)
    for name, member in members.items():
        wanted = known.get(name)
        if wanted is None:
            raise Problem(HTTPStatus.BAD_REQUEST, f"There is no member {name[:100]!r}.")
        if not isinstance(member, wanted) or isinstance(member, bool) is not (wanted is bool):
            raise Problem(HTTPStatus.BAD_REQUEST, f"{name} has the wrong type.")
    return members


def parameters(request: Request, known: frozenset[str]) -> dict[str, str]:
    """Return the parameters of a query.

    Raises:
        Problem: one is unknown, or is there twice.

    """
    found = request.query_params.multi_items()
    names = [name for name, _ in found]
    for name in names:
        if name not in known:
            raise Problem(HTTPStatus.BAD_REQUEST, f"There is no parameter {name[:100]!r}.")
        if names.count(name) > 1:
            raise Problem(HTTPStatus.BAD_REQUEST, f"{name} is given twice.")
    return dict(found)


def number(values: Mapping[str, str], name: str, otherwise: int, most: int) -> int:
    """Return a whole number from 0 to ``most``.

    Raises:
        Problem: the value is none.

    """
    text = values.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= most):
        raise Problem(HTTPStatus.BAD_REQUEST, f"{name} must be a number from 0 to {most}.")
    return int(text)


async def _user(console: Console, request: Request) -> ConsoleUser:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > LONGEST:
        raise _unknown()
    if (known := console.tokens.known(token)) is not None:
        return known
    source, name = source_of(client_of(request)), token.rpartition(".")[0]
    attempt = console.attempts.begin(source, name)
    if attempt is None:
        words = "Too many wrong tokens; try again later."
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, words, retry_after=60)
    try:
        user = await console.tokens.check(token)
    except BaseException:
        attempt.end()
        raise
    if user is None:
        pause = _PAUSE * console.attempts.failed(source, name)
        asyncio.get_running_loop().call_later(pause, attempt.end)
        console.report(ConsoleLoginFailed(user=name, client=client_of(request)))
        raise _unknown()
    attempt.end()
    console.attempts.succeeded(source, name)
    return user


def _unknown() -> Problem:
    words = "Send Authorization: Bearer and a token of emailrelay-passwd --token."
    return Problem(HTTPStatus.UNAUTHORIZED, words, challenge="Bearer")
