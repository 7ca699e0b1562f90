"""What the settings say about clients, made ready: certificate, secrets, rules. Made anew at a reload."""

import asyncio
import hashlib
import hmac
import secrets
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from emailrelay.config import ReceiverSettings
from emailrelay.errors import ConfigError
from emailrelay.events import Report, SecretsTrouble
from emailrelay.secrets import AuthConfig, Mechanism, SecretsFile
from emailrelay_receiver.access import SenderRule, Terms, sender_rule
from emailrelay_receiver.encryption import server_context
from emailrelay_receiver.sasl import Answer, Claim

_MOST_PROVED = 10_000
_THREADS = 2
"""A scrypt hash takes a processor and 16 MiB for a good while: guessing must not take them all."""


class Gate:
    """Decides who is who. ``make_gate`` makes one; it holds no connection and needs no closing."""

    def __init__(
        self,
        *,
        context: ssl.SSLContext | None,
        at_once: bool,
        file: SecretsFile | None,
        terms: Terms,
        report: Report,
    ) -> None:
        self.context = context
        """None: no encryption."""
        self.at_once = at_once
        """Encrypt from the first octet."""
        self._file = file
        self._terms = terms
        self._report = report
        self._salt = secrets.token_bytes(32)
        self._proved: set[bytes] = set()
        self._threads = ThreadPoolExecutor(_THREADS, "password")

    @property
    def serves_strangers(self) -> bool:
        """Whether clients on other hosts are let in, to log in."""
        return self._file is not None

    def trusted(self, client: str) -> str | None:
        """Give the keyword of the trusted network that a client is in. Reads a changed secrets file."""
        if self._file is None:
            return None
        self._refresh(self._file)
        return self._file.server.trusted(client)

    @property
    def terms(self) -> Terms:
        """Give what is asked of clients."""
        return self._terms

    async def proves(self, claim: Claim) -> bool:
        """Tell whether a client is who it says."""
        if self._file is None or not claim.user:
            return False
        self._refresh(self._file)
        server = self._file.server
        if isinstance(claim, Answer):
            return server.verify_challenge(claim.user, claim.challenge, claim.digest)
        password = claim.password.reveal()
        # What was right once need not cost a hash at each session; nothing but a keyed sum is kept.
        told = f"{len(claim.user)} {claim.user} {password}".encode()
        mark = hmac.new(self._salt, told, hashlib.sha256).digest()
        if mark in self._proved:
            return True
        check = partial(server.verify_password, claim.user, password)
        right = await asyncio.get_running_loop().run_in_executor(self._threads, check)
        if right and len(self._proved) < _MOST_PROVED and self._file.server is server:
            self._proved.add(mark)
        return right

    def _refresh(self, file: SecretsFile) -> None:
        try:
            if not file.refresh():
                return
        except ConfigError as error:
            self._report(SecretsTrouble(reason=str(error)))
            return
        self._proved.clear()
        self._terms = replace(self._terms, possible=_possible(file))


def _possible(file: SecretsFile | None) -> tuple[Mechanism, ...]:
    if file is None or not file.server.has_users:
        return ()
    simple = (Mechanism.PLAIN, Mechanism.LOGIN)
    return (*simple, Mechanism.CRAM_MD5) if file.server.knows_challenges else simple


def make_gate(settings: ReceiverSettings, *, report: Report) -> Gate:
    """Make what the settings describe, reading every file they name.

    Raises:
        ConfigError: with every problem.

    """
    problems: list[str] = []
    context, file, rules = None, None, list[SenderRule]()
    if settings.server_tls_certificate:
        try:
            context = server_context(
                settings.server_tls_certificate, settings.server_tls_verify, settings.tls_config
            )
        except ConfigError as error:
            problems += error.problems
    if settings.server_auth is not None:
        try:
            file = SecretsFile(settings.server_auth)
        except ConfigError as error:
            problems += error.problems
    for table in settings.allow:
        try:
            rules.append(
                sender_rule(users=table.user, networks=table.network, senders=table.sender)
            )
        except ValueError as error:
            problems.append(f"allow {table.name}: network: {error}")
    if problems:
        raise ConfigError(problems)
    return Gate(
        context=context,
        at_once=settings.server_tls_connection,
        file=file,
        terms=Terms(
            starttls=settings.server_tls,
            tls_required=settings.server_tls_required,
            login_required=file is not None,
            possible=_possible(file),
            config=AuthConfig.parse(settings.server_auth_config),
            senders=tuple(rules),
            verifies=settings.address_verifier is not None,
        ),
        report=report,
    )
