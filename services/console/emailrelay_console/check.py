"""The check of the console's settings: what would stop it or make it unsafe."""

from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import ip_address

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
_EXTRA = ("jinja2", "python_multipart", "starlette", "uvicorn")


def check(settings: ConsoleSettings, scope: CheckScope) -> Iterator[SettingFinding]:
    """Yield every finding about the settings."""
    yield from startable(settings)
    yield from _in_clear(settings)
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
    if settings.console_auth is None:
        yield SettingFinding("console_auth", _NO_USERS)
        return
    try:
        users = Users(settings.console_auth)
    except ConfigError as error:
        yield from of_error("console_auth", error)
    else:
        yield from (SettingFinding("console_auth", problem) for problem in users.problems())


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
