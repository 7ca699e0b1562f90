"""Access to the console: what counts is the path to which a request goes, and the current users."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from emailrelay.config import ConsoleSettings
from emailrelay.secrets.accounts import ServerSecrets
from emailrelay_console.access.sessions import Sessions
from emailrelay_console.access.users import Users
from emailrelay_console.console import Console
from emailrelay_console.web import forms
from emailrelay_console.web.access import Access, is_api
from emailrelay_console.web.problem import Problem

USERS = "server plain ann secret operator\n"


@pytest.fixture
def auth(tmp_path: Path) -> Path:
    path = tmp_path / "console.auth"
    path.write_text(USERS)
    path.chmod(0o600)
    return path


def request_to(path: str, console: object, **more: Any) -> Request:
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"by=sender",
        "headers": [(b"host", b"x/static/style.css?")],
        "app": SimpleNamespace(state=SimpleNamespace(console=console)),
        **more,
    }
    return Request(scope, receive)


async def receive() -> Message:
    raise AssertionError("nothing is read")


@pytest.fixture
def host_in_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a request have the address that Starlette 1.0 makes of such a field Host."""
    monkeypatch.setattr(Request, "url", URL("http://x/static/style.css?/queue?by=sender"))


@pytest.mark.usefixtures("host_in_url")
async def test_the_field_host_opens_no_page(auth: Path) -> None:
    console = cast(
        "Console",
        SimpleNamespace(
            settings=ConsoleSettings(console_auth=auth),
            users=Users(auth),
            sessions=Sessions(float),
            encrypted=False,
        ),
    )
    sent = list[Message]()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("the page is shown")

    async def send(message: Message) -> None:
        sent.append(message)

    request = request_to("/queue", console)
    await Access(app, console)(request.scope, receive, send)
    assert sent[0]["status"] == 303
    assert (b"location", b"/sign-in?next=/queue%3Fby%3Dsender") in sent[0]["headers"]
    assert is_api(request_to("/api/v1/queue", console))
    with pytest.raises(Problem, match="401"):
        await Access(app, console)(
            request_to("/queue/change", console, method="POST").scope, receive, send
        )


async def test_a_form_without_a_session_is_not_even_read() -> None:
    async def action(_request: Request, _form: object) -> Response:
        raise AssertionError("the form is taken")

    route = forms.post("/queue/change", action)
    endpoint = cast("Callable[[Request], Any]", route.endpoint)
    with pytest.raises(Problem, match="401"):
        await endpoint(request_to("/queue/change", None, method="POST"))


async def test_a_password_that_changes_during_its_check_is_the_new_one(
    auth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, check = Users(auth), ServerSecrets.verify_password
    checks = list[str]()

    def changing(self: ServerSecrets, name: str, password: str) -> bool:
        right = check(self, name, password)
        checks.append(password)
        if len(checks) == 1:
            auth.write_text(USERS.replace("secret", "another"))
            users.refresh()
        return right

    monkeypatch.setattr(ServerSecrets, "verify_password", changing)
    assert await users.sign_in("ann", "secret") is None
    assert checks == ["secret", "secret"]
    assert await users.sign_in("ann", "another") is not None
