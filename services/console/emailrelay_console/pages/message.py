"""One message: its time line, its envelope, and its content, shown so that it can do no harm."""

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from emailrelay.queue.action import APPLIES_TO
from emailrelay.queue.headers import field
from emailrelay.queue.time_line import state
from emailrelay.queue_id import QueueId
from emailrelay_console.mail.download import NoContent, content_of
from emailrelay_console.mail.message_facts import MessageFacts, find_message, read_body
from emailrelay_console.mail.part_text import decoded
from emailrelay_console.mail.safe_html import LONGEST, safe_html
from emailrelay_console.web.access import session_of
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.render import console_of, render

FRAME_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'self'"
)
"""For the HTML of a message: no script, nothing from a host, no origin, no form."""
_FRAME_FIELDS = {
    "Content-Security-Policy": FRAME_POLICY,
    "X-Frame-Options": "SAMEORIGIN",
    "X-DNS-Prefetch-Control": "off",
    "Referrer-Policy": "no-referrer",
}
_ID = re.compile(r"[0-9A-Za-z._-]{1,200}")
_MOST_DOWNLOADS = 4
_LONGEST_DOWNLOAD = 600.0
"""Seconds."""


async def show(request: Request) -> Response:
    """Show a message of the queue, or the record of one that has left."""
    console, message = console_of(request), _id(request)
    facts = await find_message(message, console.reader, console.store, console.clock())
    if facts is None:
        raise Problem(404, "There is no such message in the store, and the history has no record.")
    # The journal of a message with many recipients takes time, and other pages must not wait.
    shown = await asyncio.to_thread(_shown, facts)
    fits = [] if facts.row is None else [a for a in APPLIES_TO if facts.row.state in APPLIES_TO[a]]
    return render(
        request,
        "message.html",
        facts=facts,
        state=state(facts.past),
        subject="" if facts.body is None else field(facts.body.fields, "Subject"),
        reads=_reads(request),
        fits=fits,
        **shown,
    )


def _shown(facts: MessageFacts) -> dict[str, object]:
    text = None if facts.body is None else facts.body.text
    return {"steps": facts.steps, "outcomes": facts.outcomes, "text": text}


async def show_html(request: Request) -> Response:
    """Show the HTML of a message, as a page for a frame."""
    message = _id(request)
    _refuse_viewers(request)
    body = await console_of(request).reader.read(lambda view: read_body(view, message))
    part = None if body is None else body.html
    if part is None:
        raise Problem(404, "There is no such message in the store, or it has no HTML.")
    text, _ = decoded(part, LONGEST)
    safe = await asyncio.to_thread(safe_html, text)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>HTML of a message'
        f"</title></head><body>{safe}</body></html>"
    )
    return HTMLResponse(page.encode(errors="replace"), headers=_FRAME_FIELDS)


async def download(request: Request) -> Response:
    """Send the content octet for octet, as a file."""
    message, console = _id(request), console_of(request)
    _refuse_viewers(request)
    if _Download.running >= _MOST_DOWNLOADS:
        words = "Other downloads are in progress. Wait until they end, and try again."
        raise Problem(503, words, retry_after=30)
    chunks = iterate_in_threadpool(content_of(console.reader.opens, message))
    try:
        await anext(aiter(chunks))
    except NoContent:
        words = "There is no such message in the store, or it has no content."
        raise Problem(404, words) from None
    return _Download(message, chunks)


class _Download(StreamingResponse):
    """A file of bounded time; few run at once."""

    running = 0

    def __init__(self, message: QueueId, chunks: AsyncIterator[bytes]) -> None:
        named = f'attachment; filename="{quote(message)}.eml"'
        fields = {"Content-Disposition": named, "Content-Security-Policy": FRAME_POLICY}
        super().__init__(chunks, media_type="message/rfc822", headers=fields)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and stop after some time: the connection is closed before the end then."""
        _Download.running += 1
        try:
            async with asyncio.timeout(_LONGEST_DOWNLOAD):
                await super().__call__(scope, receive, send)
        finally:
            _Download.running -= 1


def _id(request: Request) -> QueueId:
    text: str = request.path_params["id"]
    if not _ID.fullmatch(text):
        raise Problem(404, "There is no such message: an id has digits, letters, and dots.")
    return QueueId(text)


def _reads(request: Request) -> bool:
    """Tell if the user can read the contents of messages."""
    return session_of(request).user.operates or console_of(request).settings.console_viewers_read


def _refuse_viewers(request: Request) -> None:
    if not _reads(request):
        raise Problem(403, "You are a viewer: only operators read the texts of messages here.")


ROUTES = [
    Route("/message/{id}", show),
    Route("/message/{id}/html", show_html),
    Route("/message/{id}/raw", download),
]
