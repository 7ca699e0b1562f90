"""The settings for clients, ready for use: certificate, secrets, rules."""

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
import ssl
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from emailrelay.config import ReceiverSettings
from emailrelay.errors import ConfigError
from emailrelay.events.accounts import SecretsTrouble
from emailrelay.events.event import Report
from emailrelay.secrets import AuthConfig, Mechanism, SecretsFile, ServerSecrets
from emailrelay.secrets.trusted import TrustedNetwork
from emailrelay_receiver.clients.tls_context import server_context
from emailrelay_receiver.dialogue.access import ClientTerms, SenderRule
from emailrelay_receiver.dialogue.sasl import Credentials, Password, SaslResponse

_MOST_PROVED = 10_000
_THREADS = 2
"""A scrypt hash takes a processor and 16 MiB for long: guesses must not use them all."""

_MOST_CHECKED = 32
"""Passwords whose hash is waited for or computed: the last one waits for a few seconds."""


class TooBusy(Exception):
    """Too many passwords are being checked."""


class ClientRules:
    """Authenticates clients. It holds no connection and needs no closing."""

    def __init__(
        self,
        *,
        tls_context: ssl.SSLContext | None,
        at_once: bool,
        file: SecretsFile | None,
        terms: ClientTerms,
        report: Report,
    ) -> None:
        self.tls_context = tls_context
        """None: no encryption."""
        self.at_once = at_once
        """Encrypt from the first octet."""
        self._file = file
        self.terms = terms
        """The conditions for clients; a changed secrets file changes them."""
        self._report = report
        self._salt = secrets.token_bytes(32)
        self._proved: set[bytes] = set()
        self._threads = ThreadPoolExecutor(_THREADS, "password")
        self._checking: dict[bytes, asyncio.Future[bool]] = {}

    @property
    def serves_strangers(self) -> bool:
        """True if clients on other hosts are served, so that they can log in."""
        return self._file is not None

    def trusted(self, client: str) -> str | None:
        """Return the keyword of the client's trusted network. Reads a changed secrets file."""
        if self._file is None:
            return None
        self._refresh(self._file)
        return self._file.server.trusted(client)

    async def proves(self, claim: Credentials, *, known: bool = False) -> bool:
        """Return whether a claim is true. ``known``: it was made from this source before.

        A right password that needs no hash is accepted at once, ahead of those that wait for one.
        Every wrong one waits for a hash if the file has any, so that the time does not reveal
        names.

        Raises:
            TooBusy: too many wait for a hash already, and the client is not known.

        """
        if self._file is None or not claim.user:
            return False
        self._refresh(self._file)
        server = self._file.server
        if isinstance(claim, SaslResponse):
            return server.verify_challenge(claim.user, claim.challenge, claim.digest)
        mark = self._mark(claim)
        # A password that was right before need not cost a hash at each session.
        if mark in self._proved or server.fits_cheaply(claim.user, claim.password.reveal()):
            return True
        if not server.has_hashes:
            return False
        if mark not in self._checking and len(self._checking) >= _MOST_CHECKED and not known:
            raise TooBusy
        right = await self._hashed(server, claim, mark)
        if right and len(self._proved) < _MOST_PROVED and self._file.server is server:
            self._proved.add(mark)
        return right

    def checks(self, claim: Credentials) -> bool:
        """Return whether this claim is being checked: waiting for it is no further guess."""
        return isinstance(claim, Password) and self._mark(claim) in self._checking

    async def _hashed(self, server: ServerSecrets, claim: Password, mark: bytes) -> bool:
        """Check a password by its hash, once for all clients that send it at the same time."""
        checking = self._checking.get(mark)
        if checking is None:
            check = partial(server.fits_hash, claim.user, claim.password.reveal())
            loop = asyncio.get_running_loop()
            self._checking[mark] = checking = loop.run_in_executor(self._threads, check)
            checking.add_done_callback(lambda _: self._checking.pop(mark, None))
        return await asyncio.shield(checking)

    def _mark(self, claim: Password) -> bytes:
        """Return a keyed digest: nothing else of a password is stored."""
        text = f"{len(claim.user)} {claim.user} {claim.password.reveal()}".encode()
        return hmac.new(self._salt, text, hashlib.sha256).digest()

    def _refresh(self, file: SecretsFile) -> None:
        try:
            if not file.refresh():
                return
        except ConfigError as error:
            self._report(SecretsTrouble(reason=str(error)))
            return
        self._proved.clear()
        self.terms = replace(self.terms, possible=_possible(file))


def _possible(file: SecretsFile | None) -> tuple[Mechanism, ...]:
    if file is None or not file.server.has_users:
        return ()
    simple = (Mechanism.PLAIN, Mechanism.LOGIN)
    return (*simple, Mechanism.CRAM_MD5) if file.server.knows_challenges else simple


def _networks(texts: Iterable[str]) -> tuple[TrustedNetwork, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def make_client_rules(settings: ReceiverSettings, *, report: Report) -> ClientRules:
    """Make the rules that the settings describe, and read every file that they name.

    Raises:
        ConfigError: with every problem.

    """
    problems: list[str] = []
    tls_context, file, rules = None, None, list[SenderRule]()
    if settings.server_tls_certificate:
        try:
            tls_context = server_context(
                settings.server_tls_certificate, settings.server_tls_verify, settings.tls_config
            )
        except ConfigError as error:
            problems += error.of_setting("server_tls_certificate")
    if settings.server_auth is not None:
        try:
            file = SecretsFile(settings.server_auth)
        except ConfigError as error:
            problems += error.of_setting("server_auth")
    for table in settings.allow:
        try:
            networks = _networks(table.network)
            rules.append(SenderRule(users=table.user, networks=networks, senders=table.sender))
        except ValueError as error:
            problems.append(f"allow {table.name}: network: {error}")
    if problems:
        raise ConfigError(problems)
    return ClientRules(
        tls_context=tls_context,
        at_once=settings.server_tls_connection,
        file=file,
        terms=ClientTerms(
            starttls=settings.server_tls,
            tls_required=settings.must_encrypt,
            login_required=file is not None,
            possible=_possible(file),
            config=AuthConfig.parse(settings.server_auth_config),
            senders=tuple(rules),
            verifies=settings.address_verifier is not None,
            asks_next=settings.verify_recipients,
            lenient=_networks(settings.lenient),
        ),
        report=report,
    )
