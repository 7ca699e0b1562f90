"""The facts that a trusted proxy tells of a request: the client, and perhaps the user."""

from ipaddress import ip_network

from starlette.requests import Request

from emailrelay.client_source import is_local
from emailrelay.config import ConsoleSettings
from emailrelay.secrets.trusted import lies_in
from emailrelay_console.console import Console

_GONE = "unknown"
"""Stands for a TCP client that has gone before its address was asked for."""


def client_of(request: Request) -> str:
    """Return the IP address of a client, or an empty text for a unix socket."""
    settings, peer = _settings(request), _peer_of(request)
    if not _is_proxy(peer, settings):
        return peer
    given = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    # Each proxy adds the address of its client at the end; a client itself may send any before.
    for address in reversed([each.strip() for each in given]):
        if not _is_proxy(address, settings):
            return address[:100]
    return peer


def named_user(request: Request) -> str | None:
    """Return the user that a proxy names. None: there is no such proxy, or it names none.

    A proxy on this host is believed through a unix socket only, since every local user can connect
    from a loopback address.
    """
    settings = _settings(request)
    if settings.console_user_header is None:
        return None
    peer = _peer_of(request)
    if not _is_proxy(peer, settings) or is_local(peer):
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


def _peer_of(request: Request) -> str:
    """Return the IP address of the other end of a connection; empty: it is a unix socket."""
    if request.client is not None:
        return request.client.host
    server: tuple[str, int | None] | None = request.scope.get("server")
    return "" if server is None or server[1] is None else _GONE


def _is_proxy(address: str, settings: ConsoleSettings) -> bool:
    """Tell if an address is that of a proxy; the empty one of a unix socket is."""
    networks = tuple(ip_network(each, strict=False) for each in settings.console_proxies)
    return not address or lies_in(address, networks)


def _settings(request: Request) -> ConsoleSettings:
    console: Console = request.app.state.console
    return console.settings
