"""Makes pages from templates that escape every value: no text of a message becomes HTML."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from emailrelay.config import version
from emailrelay.printable import printable
from emailrelay.terminal.human import ahead, octets, span, when
from emailrelay_console.access.sessions import BrowserSession
from emailrelay_console.console import Console
from emailrelay_console.web.access import find_session, path_of
from emailrelay_console.web.words import ACTION_WORDS, LINKS, address, count_words, iso

FOLDER = Path(str(files("emailrelay_console")))


def console_of(request: Request) -> Console:
    """Return the console that a request reached."""
    console: Console = request.app.state.console
    return console


def render(request: Request, template: str, **values: Any) -> HTMLResponse:
    """Return a page; the template gets ``values``, and those that all pages have."""
    session = find_session(request)
    page = _template(template)
    text = page.render(
        path=path_of(request),
        session=session,
        user=None if session is None else session.user,
        form_token="" if session is None else session.form_token,
        notice=_taken_notice(session),
        now=console_of(request).clock(),
        shows_received=console_of(request).settings.console_received is not None,
        **values,
    )
    # Lone surrogates stand for octets of a message that are no UTF-8.
    return HTMLResponse(text.encode(errors="replace"))


def fragment(template: str, **values: Any) -> str:
    """Return a part of a page, which is the same for all users."""
    return _template(template).render(**values)


def _taken_notice(session: BrowserSession | None) -> str:
    if session is None:
        return ""
    notice, session.notice = session.notice, ""
    return notice


def _template(name: str) -> Template:
    shared = {"links": LINKS, "actions": ACTION_WORDS, "version": version()}
    return _environment().get_template(name, globals=shared)


def _shown(value: Any) -> Any:
    """Let no text hide or reverse a part of a page; ``lines`` is for texts of several lines."""
    return printable(value) if type(value) is str else value


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        iso=iso,
        span=span,
        ahead=ahead,
        octets=octets,
        when=when,
        address=address,
        counted=count_words,
        lines=escape,
    )
    return made
