"""Bounds the size of a request and the time for its body."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emailrelay_console.web.problem import Problem

LARGEST = 256 * 1024
"""Octets of a body: a selection of messages on a page is far smaller."""
_SECONDS = 15.0
"""The most time for a body."""


class RequestBounds:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        size, whole = 0, False
        end = asyncio.get_running_loop().time() + _SECONDS

        async def bounded() -> Message:
            nonlocal size, whole
            if whole:  # a page that listens for the end of its connection
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise Problem(408, "The request took too long.") from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > LARGEST:
                raise Problem(413, f"A request has at most {LARGEST // 1024} KiB.")
            return message

        await self._app(scope, bounded if scope["type"] == "http" else receive, send)
