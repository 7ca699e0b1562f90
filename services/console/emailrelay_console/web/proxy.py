"""The facts that a trusted proxy tells of a request: the client, and perhaps the user."""

from ipaddress import ip_network

from starlette.requests import Request

from emailrelay.config import ConsoleSettings
from emailrelay.secrets.trusted import lies_in
from emailrelay_console.console import Console


def client_of(request: Request) -> str:
    """Return the IP address of a client, or an empty text for a unix socket."""
    settings = _settings(request)
    peer = "" if request.client is None else request.client.host
    if not _is_proxy(peer, settings):
        return peer
    given = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    # Each proxy adds the address of its client at the end; a client itself may send any before.
    for address in reversed([each.strip() for each in given]):
        if not _is_proxy(address, settings):
            return address[:100]
    return peer


def named_user(request: Request) -> str | None:
    """Return the user that a proxy names. None: there is no such proxy, or it names none."""
    settings = _settings(request)
    if settings.console_user_header is None:
        return None
    peer = "" if request.client is None else request.client.host
    if not _is_proxy(peer, settings):
        return None
    return request.headers.get(settings.console_user_header, "").strip() or None


def is_for_us(request: Request) -> bool:
    """Tell if a request is for the host of ``console_url``; without that, it always is."""
    url = _settings(request).console_url
    if url is None:
        return True
    scheme, _, host = url.partition("://")
    usual = ":443" if scheme == "https" else ":80"
    return request.headers.get("host", "").lower().removesuffix(usual) == host.removesuffix(usual)


def _is_proxy(address: str, settings: ConsoleSettings) -> bool:
    """Tell if an address is that of a proxy; the empty one of a unix socket is."""
    networks = tuple(ip_network(each, strict=False) for each in settings.console_proxies)
    return not address or lies_in(address, networks)


def _settings(request: Request) -> ConsoleSettings:
    console: Console = request.app.state.console
    return console.settings
