"""Errors become answers that tell their reader the reason."""

import json

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from emailrelay.errors import RelayError, StoreError
from emailrelay_console.mail.changes import TooManyChanges
from emailrelay_console.web.errors import ErrorPages, answer
from emailrelay_console.web.live import TooManyBrowsers


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (TooManyBrowsers("too many browsers"), "too many browsers"),
        (TooManyChanges("too many changes"), "too many changes"),
        (StoreError("read x", OSError("gone")), "The store cannot be used now: "),
    ],
)
async def test_only_trouble_with_the_store_is_called_so(error: RelayError, detail: str) -> None:
    request = Request({"type": "http", "path": "/api/v1/queue", "headers": [], "query_string": b""})
    told = await answer(request, error)
    assert told.status_code == 503
    assert "retry-after" in told.headers
    assert json.loads(bytes(told.body))["detail"].startswith(detail)


async def test_a_client_that_goes_away_is_no_error() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ClientDisconnect

    async def receive() -> Message:
        raise AssertionError("there is nothing to receive")

    async def send(_message: Message) -> None:
        raise AssertionError("there is nobody to answer")

    # The scope has no console, so nothing can be reported either.
    await ErrorPages(app)({"type": "http", "path": "/", "headers": []}, receive, send)
