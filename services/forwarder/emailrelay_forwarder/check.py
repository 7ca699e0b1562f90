"""The check of the forwarder's settings: what would stop it or hurt its work."""

import asyncio
import importlib.util
import socket
import time
from collections.abc import Iterator
from contextlib import nullcontext

from emailrelay import extras, host_port, spool_owner
from emailrelay.config import ForwarderSettings
from emailrelay.config.findings import CheckScope, SettingFinding, of_error, warning
from emailrelay.errors import ConfigError, RelayError
from emailrelay.events.event import report_nothing
from emailrelay.oauth.credentials import load_credentials
from emailrelay.oauth.sign_ins import trouble_of
from emailrelay.secrets import SecretsFile
from emailrelay.secrets.secret_text import SecretUnusable, read_line
from emailrelay.service.checks import certificates, filters, host_name, servers, store
from emailrelay.store.chooser import open_tokens, token_directory
from emailrelay_forwarder.session.policy import settled
from emailrelay_forwarder.session.tls import context_for
from emailrelay_forwarder.settings.account_lookup import accounts_of_routes
from emailrelay_forwarder.settings.policy_settings import policy_of

_EXTRA = ("httpx2", "joserfc")


def check(settings: ForwarderSettings, scope: CheckScope) -> Iterator[SettingFinding]:
    """Yield every finding about the settings."""
    yield from host_name.check(settings.domain)
    yield from _encryption(settings)
    yield from _accounts(settings)
    yield from _servers(settings)
    yield from filters.check("client_filter", settings.client_chain)
    if scope.store:
        yield from store.check(settings)
        yield from _sign_ins(settings)


def _encryption(settings: ForwarderSettings) -> Iterator[SettingFinding]:
    files = settings.client_tls_certificate
    # Each file by itself, so that the finding names its setting.
    problems = list(_loading("client_tls_certificate", settings, "client_tls_verify"))
    if files and not problems:
        problems += certificates.check("client_tls_certificate", files, time.time(), is_client=True)
    yield from problems
    yield from _loading("client_tls_verify", settings, "client_tls_certificate")


def _loading(setting: str, settings: ForwarderSettings, other: str) -> Iterator[SettingFinding]:
    """Yield the problems of the files of one setting, without those of the other."""
    default = ForwarderSettings.model_fields[other].default
    policy = policy_of(settings.model_copy(update={other: default}))
    try:
        context_for(settled(policy, signs_in=True), compare=True)
    except ConfigError as error:
        yield from of_error(setting, error)


def _accounts(settings: ForwarderSettings) -> Iterator[SettingFinding]:
    known: set[str] | None = None
    if settings.client_auth is not None:
        try:
            known = set(SecretsFile(settings.client_auth).client.selectors)
        except ConfigError as error:
            yield from of_error("client_auth", error)
    for table in settings.account:
        try:
            if table.password_file is not None:
                read_line(table.password_file)
            if table.oauth2 is not None:
                load_credentials(table.oauth2)
        except SecretUnusable as error:
            yield SettingFinding("account", f"{table.name}: {error}")
    if any(table.oauth2 for table in settings.account):
        missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
        if missing:
            text = f"OAuth2 needs {' and '.join(missing)}: {extras.advice('oauth')}"
            yield SettingFinding("account", text)
    if known is not None and "" not in known and _needs_usual_account(settings):
        text = (
            f"{settings.client_auth}: has no client line without a selector, so that mail to "
            "forward_to waits; add one (emailrelay-passwd --client --plain)"
        )
        yield SettingFinding("client_auth", text)
    if settings.client_auth is None or known is not None:
        for problem in accounts_of_routes(settings, known or set()):
            yield SettingFinding("route", problem)


def _needs_usual_account(settings: ForwarderSettings) -> bool:
    routes = any(route.account is None for route in settings.route)
    return settings.forward_to is not None or routes


def _sign_ins(settings: ForwarderSettings) -> Iterator[SettingFinding]:
    """Yield the accounts without a sign-in that works: their mail waits."""
    accounts = [table for table in settings.account if table.oauth2 is not None]
    if not accounts:
        return
    directory = token_directory(settings.store_place, settings.spool_dir)
    if directory is not None and not directory.is_dir():
        return  # the store's own check names it
    tokens = open_tokens(settings.store_place, settings.spool_dir)
    try:
        with nullcontext() if directory is None else spool_owner.acting(directory):
            troubles = asyncio.run(trouble_of(accounts, tokens, report_nothing))
    except RelayError as error:
        yield warning("account", f"the tokens cannot be read: {error}")
        return
    for name, trouble in troubles.items():
        yield warning("account", f"{name}: {trouble}")


def _servers(settings: ForwarderSettings) -> Iterator[SettingFinding]:
    if settings.forward_to is not None:
        yield from servers.lookups("forward_to", [host_port.parse(settings.forward_to)])
    named = [host_port.parse(server) for route in settings.route for server in route.smarthosts]
    yield from servers.lookups("route", named)
    if settings.client_interface is not None:
        yield from _interface(settings.client_interface)


def _interface(address: str) -> Iterator[SettingFinding]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.bind((address, 0))
    except OSError as error:
        text = f"this machine cannot connect from {address}: {error.strerror}; name one of its own"
        yield SettingFinding("client_interface", text)
