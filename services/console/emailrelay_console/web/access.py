"""Lets a request pass only with a session, and a change only for an operator: closed by default."""

from collections.abc import Callable
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from emailrelay.errors import ConfigError
from emailrelay.events.accounts import SecretsTrouble
from emailrelay_console.access.sessions import BrowserSession
from emailrelay_console.console import Console
from emailrelay_console.web.problem import Problem
from emailrelay_console.web.proxy import is_for_us, named_user

SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
API = "/api/v1"
"""The paths of programs: they have tokens, and no cookies; see ``api``."""
_STYLE = frozenset({"/static/style.css", "/static/icon.svg"})
"""The files that every page needs. The error page for an unusable users file needs them, too."""
_OPEN = _STYLE | {SIGN_IN}
"""The pages that need no session."""
_READING = frozenset({"GET", "HEAD"})
_FOR_VIEWERS = frozenset({SIGN_IN, SIGN_OUT})
"""The pages to which a viewer may send a form."""
_SESSION = "emailrelay.session"


def cookie_name(console: Console) -> str:
    """Return the name of the cookie of sessions.

    The prefix makes browsers refuse a cookie that another host has set (RFC 6265bis, 4.1.3.2).
    """
    return "__Host-emailrelay" if console.encrypted else "emailrelay"


def path_of(request: Request) -> str:
    """Return the path of a request, from which its page is chosen.

    Earlier versions of Starlette make ``request.url`` from the header field Host as well, and so
    let a client choose the path there.
    """
    path: str = request.scope["path"]
    return path


def is_api(request: Request) -> bool:
    """Tell if a request is one of a program."""
    return path_of(request).startswith(f"{API}/")


def session_of(request: Request) -> BrowserSession:
    """Return the session of a request that has passed."""
    session: BrowserSession = request.scope[_SESSION]
    return session


def find_session(request: Request) -> BrowserSession | None:
    """Return the session of a request, also of one to an open page."""
    found: BrowserSession | None = request.scope.get(_SESSION)
    return found


def session_still_open(request: Request) -> Callable[[], bool]:
    """Return a function that tells if the session of a request is still open.

    A page that stays open does not count as use.
    """
    console: Console = request.app.state.console
    named = named_user(request)
    if named is not None:  # the proxy ends the stream
        generation = console.users.generation
        return lambda: console.users.generation == generation
    token = request.cookies.get(cookie_name(console), "")
    return lambda: console.sessions.is_open(token, console.users.generation)


class Access:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, console: Console) -> None:
        self._app, self._console = app, console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if not is_for_us(request):
            raise Problem(421, "This console has another name: see console_url in its settings.")
        self._refresh()
        if is_api(request):
            scope[_SESSION] = None
            await self._app(scope, receive, send)
            return
        scope[_SESSION] = None if path_of(request) in _STYLE else self._session(request)
        refusal = self._refusal(request)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _refresh(self) -> None:
        try:
            self._console.users.refresh()
        except ConfigError as error:
            self._console.report(SecretsTrouble(reason=str(error)))

    def _session(self, request: Request) -> BrowserSession | None:
        users, sessions = self._console.users, self._console.sessions
        named = named_user(request)
        if named is not None:
            user = users.person(named)
            return None if user is None else sessions.of_named(user, users.generation)
        token = request.cookies.get(cookie_name(self._console), "")
        return sessions.find(token, users.generation) if token else None

    def _refusal(self, request: Request) -> Response | None:
        session, path = find_session(request), path_of(request)
        reads = request.method in _READING
        if not reads and not _from_here(request):
            raise Problem(403, "This form came from another site. Open the page again, and repeat.")
        if path in _OPEN:
            return None
        if session is None:
            if reads:
                return RedirectResponse(f"{SIGN_IN}?next={quote(_target(request))}", 303)
            raise Problem(401, "Your session is over. Sign in again, and repeat.")
        if not reads and not session.user.operates and path not in _FOR_VIEWERS:
            raise Problem(403, "You are a viewer: only operators can change anything.")
        return None


def _target(request: Request) -> str:
    query: bytes = request.scope["query_string"]
    return quote(path_of(request)) + (f"?{query.decode('latin-1')}" if query else "")


def _from_here(request: Request) -> bool:
    """Tell if a form comes from a page of ours, as the browser says (Fetch Metadata, or Origin)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
