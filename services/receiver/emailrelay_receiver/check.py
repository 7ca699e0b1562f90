"""The check of the receiver's settings: what would stop it or hurt its work."""

import time
from collections.abc import Iterator
from pathlib import Path

from emailrelay import host_port
from emailrelay.config import ReceiverSettings
from emailrelay.config.findings import CheckScope, SettingFinding, of_error, warning
from emailrelay.errors import ConfigError
from emailrelay.events.event import report_nothing
from emailrelay.filters.shipped.parameters import MxFilter, RewriteFilter
from emailrelay.filters.spec import Filter, ProgramFilter, unstartable
from emailrelay.secrets import SecretsFile
from emailrelay.service.checks import (
    addresses,
    certificates,
    filters,
    host_name,
    servers,
    store,
)
from emailrelay_receiver.clients.client_rules import make_client_rules
from emailrelay_receiver.clients.tls_context import server_context


def check(settings: ReceiverSettings, scope: CheckScope) -> Iterator[SettingFinding]:
    """Yield every finding about the settings."""
    yield from host_name.check(settings.domain)
    yield from _encryption(settings)
    yield from _clients(settings)
    yield from filters.check("filter", settings.chain)
    yield from _verifier(settings)
    yield from _recipients(settings)
    yield from _loops(settings)
    if scope.ports:
        yield from addresses.tcp(settings.interface, settings.port)
        yield from addresses.inherited(settings.interface)
    yield from addresses.unix(settings.interface)
    if scope.store:
        yield from store.check(
            settings, fallback=settings.store_fallback, minimum_free=settings.minimum_free
        )


def _encryption(settings: ReceiverSettings) -> Iterator[SettingFinding]:
    files = settings.server_tls_certificate
    if not files:
        return
    try:
        server_context(files, None, settings.tls_config)
    except ConfigError as error:
        yield from of_error("server_tls_certificate", error)
        return
    try:
        server_context(files, settings.server_tls_verify, settings.tls_config)
    except ConfigError as error:
        yield from of_error("server_tls_verify", error)
    yield from certificates.check("server_tls_certificate", files, time.time())


def _clients(settings: ReceiverSettings) -> Iterator[SettingFinding]:
    encrypts = settings.server_tls or settings.server_tls_connection
    if settings.server_auth is not None:
        try:
            server = SecretsFile(settings.server_auth).server
        except ConfigError as error:
            yield from of_error("server_auth", error)
        else:
            if server.admits_no_client:
                text = (
                    f"{settings.server_auth}: has no server line, so no client can send mail; "
                    "add one (emailrelay-passwd)"
                )
                yield warning("server_auth", text)
            if server.has_users and not encrypts and not settings.server_auth_config:
                text = "clients on other hosts cannot log in without encryption; set server_tls"
                yield warning("server_auth", text)
    elif settings.remote_clients:
        text = (
            "every host that reaches this one can send mail through it (an open relay); set "
            "server_auth, or restrict the access by a firewall"
        )
        yield warning("remote_clients", text)
    rest = settings.model_copy(update={"server_tls_certificate": [], "server_auth": None})
    try:
        make_client_rules(rest, report=report_nothing)
    except ConfigError as error:
        yield from of_error("allow", error)


def _verifier(settings: ReceiverSettings) -> Iterator[SettingFinding]:
    spec = settings.address_verifier
    if spec is None:
        return
    if spec.startswith("net:"):
        place = host_port.parse(spec.removeprefix("net:"))
        yield from servers.services("address_verifier", [place])
        return
    for path, trouble in unstartable([ProgramFilter(Path(spec))]).items():
        yield SettingFinding("address_verifier", f"{path}: {trouble}")


def _recipients(settings: ReceiverSettings) -> Iterator[SettingFinding]:
    """Yield the filters that make the question about a recipient a wrong one."""
    if not settings.verify_recipients:
        return
    changing = [str(each) for each in settings.chain if _changes_recipients(each)]
    if changing:
        text = (
            f"the next server is asked before {', '.join(changing)} changes addresses or servers, "
            "so it may refuse an address that it would never get; leave out one of the two"
        )
        yield warning("verify_recipients", text)


def _loops(settings: ReceiverSettings) -> Iterator[SettingFinding]:
    if "content" in settings.anonymous:
        text = (
            "without a Received line the relay cannot notice that it sends mail to itself; leave "
            "out content, or make sure that no route leads back here"
        )
        yield warning("anonymous", text)


def _changes_recipients(each: Filter) -> bool:
    match each:
        case RewriteFilter(senders=senders, recipients=recipients):
            return senders or recipients
        case MxFilter():
            return True
        case _:
            return False
