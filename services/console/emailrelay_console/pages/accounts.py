"""The accounts at mail servers, with the state of their tokens; no secret is shown."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emailrelay.errors import RelayError
from emailrelay_console.mail.host_settings import read_accounts
from emailrelay_console.web.render import console_of, render


async def show(request: Request) -> Response:
    """Show the accounts."""
    settings = console_of(request).settings
    try:
        accounts, trouble = await read_accounts(settings.store_place, settings.spool_dir), ""
    except RelayError as error:
        accounts, trouble = [], str(error)
    return render(request, "accounts.html", accounts=accounts, trouble=trouble)


ROUTES = [Route("/accounts", show)]
