"""The actions on messages: each is logged with its user."""

from http import HTTPStatus

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from emailrelay.events import ConsoleAction
from emailrelay.queue_id import QueueId
from emailrelay_console.web import forms
from emailrelay_console.web.access import session_of
from emailrelay_console.web.render import console_of


async def hold(request: Request, form: FormData) -> Response:
    """Set one message aside."""
    console = console_of(request)
    message = QueueId(forms.text(form, "id", 100))
    done = await (await console.store.get()).hold(message)
    if done:
        console.report(ConsoleAction(user=session_of(request).user.name, action="hold", id=message))
    return RedirectResponse("/queue", HTTPStatus.SEE_OTHER)


ROUTES = [forms.post("/queue/hold", hold)]
