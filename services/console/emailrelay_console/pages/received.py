"""The mail that a demonstration's smarthost got."""

import asyncio
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emailrelay_console.mail import received
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.render import console_of, render


async def show(request: Request) -> Response:
    """List the messages."""
    found = await asyncio.to_thread(received.listed, _directory(request))
    return render(request, "received.html", messages=found)


async def show_one(request: Request) -> Response:
    """Show a message as text."""
    number = int(request.path_params["number"])
    found = await asyncio.to_thread(received.read_message, _directory(request), number)
    if found is None:
        raise Problem(404, "There is no such message.")
    return render(request, "received_message.html", message=found)


def _directory(request: Request) -> Path:
    directory = console_of(request).settings.console_received
    if directory is None:
        raise Problem(404, "This console shows no received mail: console_received is not set.")
    return directory


ROUTES = [Route("/received", show), Route("/received/{number:int}", show_one)]
