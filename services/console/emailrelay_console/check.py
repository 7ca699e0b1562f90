"""The check of the console's settings: what would stop it or make it unsafe."""

from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import ip_address, ip_network

from emailrelay import extras
from emailrelay.config import ConsoleSettings
from emailrelay.config.findings import CheckScope, SettingFinding, of_error, warning
from emailrelay.errors import ConfigError
from emailrelay.service.checks import addresses, store
from emailrelay_console.access.users import Users

_NO_USERS = (
    "console_auth is not set: name a file with users, made by"
    " emailrelay-passwd --role operator NAME"
)
_UNSAFE_HEADER = (
    "every user of this host can connect from a loopback address of console_proxies, and be taken"
    " for any user of the console. Let the proxy connect to a unix socket: name only such sockets"
    " in console_interface (docs/console.md has an example), or take the loopback addresses out of"
    " console_proxies"
)
_UNSEEN_CLIENTS = (
    "without console_proxies all browsers behind the proxy count as one address, so one that"
    " guesses passwords can keep new users from signing in; name the address of the proxy"
)
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_EXTRA = ("jinja2", "python_multipart", "starlette", "uvicorn")


def check(settings: ConsoleSettings, scope: CheckScope) -> Iterator[SettingFinding]:
    """Yield every finding about the settings."""
    yield from startable(settings)
    yield from cautions(settings)
    if scope.ports:
        yield from addresses.tcp(
            settings.console_interface, settings.console_port, prefix="console_"
        )
    yield from addresses.unix(settings.console_interface, setting="console_interface")
    if scope.store:
        yield from store.check(settings, fallback=settings.store_fallback)


def startable(settings: ConsoleSettings) -> Iterator[SettingFinding]:
    """Yield the findings that stop the console."""
    for name in _EXTRA:
        if find_spec(name) is None:
            yield SettingFinding("", f"{name} is missing: {extras.advice('console')}")
    if settings.store == "memory:":
        yield SettingFinding("store", "memory: is inside another process; name another store")
    if settings.console_user_header is not None and _proxy_is_here(settings):
        yield SettingFinding("console_user_header", _UNSAFE_HEADER)
    if settings.console_auth is None:
        yield SettingFinding("console_auth", _NO_USERS)
        return
    try:
        users = Users(settings.console_auth)
    except ConfigError as error:
        yield from of_error("console_auth", error)
    else:
        yield from (SettingFinding("console_auth", problem) for problem in users.problems())


def cautions(settings: ConsoleSettings) -> Iterator[SettingFinding]:
    """Yield the warnings: the console starts, but it is not as safe as it can be."""
    yield from _in_clear(settings)
    if settings.console_url is not None and not settings.console_proxies and _has_tcp(settings):
        yield warning("console_proxies", _UNSEEN_CLIENTS)


def _has_tcp(settings: ConsoleSettings) -> bool:
    """Tell if the console listens on a TCP address that its settings name."""
    return any(not each.startswith(("/", "fd#")) for each in settings.console_interface or [""])


def _proxy_is_here(settings: ConsoleSettings) -> bool:
    """Tell if a proxy connects by TCP from this host."""
    networks = [ip_network(each, strict=False) for each in settings.console_proxies]
    pairs = ((each, here) for each in networks for here in _LOOPBACK)
    return _has_tcp(settings) and any(
        each.version == here.version and each.overlaps(here) for each, here in pairs
    )


def _in_clear(settings: ConsoleSettings) -> Iterator[SettingFinding]:
    """Yield the addresses at which passwords would cross a network in clear."""
    if settings.console_url is not None and settings.console_url.startswith("https:"):
        return
    for interface in settings.console_interface:
        if not interface.startswith(("/", "fd#")) and not _is_loopback(interface):
            text = (
                f"{interface or 'all addresses'}: passwords cross the network in clear; put a proxy"
                " with TLS in front, and name its address in console_url"
            )
            yield warning("console_interface", text)


def _is_loopback(interface: str) -> bool:
    try:
        return ip_address(interface.strip("[]")).is_loopback
    except ValueError:
        return interface == "localhost"
