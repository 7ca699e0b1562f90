"""The routes of this host, and the one that a message would take, with the reason."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emailrelay.envelope import Address, Envelope
from emailrelay.errors import ConfigError
from emailrelay.queue.pattern import bare
from emailrelay.routes import Routes, sender_on
from emailrelay_console.mail.host_settings import read_routes
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.render import render

MOST_ROUTES = 200
_LONGEST = 500


async def show(request: Request) -> Response:
    """Show the routes; with a recipient, also the way of its mail."""
    asked = request.query_params
    tried = {name: asked.get(name, "").strip() for name in ("sender", "recipient", "user")}
    for name, value in tried.items():
        if len(value) > _LONGEST or not value.isprintable():
            raise Problem(400, f"{name} has at most {_LONGEST} characters that can be printed.")
    try:
        routes, trouble = await read_routes(), ""
    except ConfigError as error:
        routes, trouble = Routes(), str(error)
    way = _way(routes, **tried) if tried["recipient"] and not trouble else None
    return render(
        request,
        "routes.html",
        tried=tried,
        way=way,
        routes=routes.every[:MOST_ROUTES],
        more=max(0, len(routes.every) - MOST_ROUTES),
        trouble=trouble,
    )


def _way(routes: Routes, *, sender: str, recipient: str, user: str) -> dict[str, object]:
    address = Address(bare(recipient))
    envelope = Envelope(sender=Address(bare(sender)), to_remote=(address,), authentication=user)
    choice = routes.choose(envelope, address)
    passed = routes.passed_over(envelope, address)
    return {
        "route": choice.route,
        "why": choice.why,
        "passed": passed[-MOST_ROUTES:],
        "sender": "" if choice.route is None else sender_on(choice.route, envelope.sender),
    }


ROUTES = [Route("/routes", show)]
