"""Opens sessions: connects, encrypts and signs in according to the policy."""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from functools import partial

from emailrelay.errors import RelayError
from emailrelay_forwarder.session.account import Account
from emailrelay_forwarder.session.certificate_names import is_for, names_of
from emailrelay_forwarder.session.happy_eyeballs import first_to_answer
from emailrelay_forwarder.session.policy import Mode, Policy, Tls, settled
from emailrelay_forwarder.session.resolve import SocketAddress, resolve
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_error import (
    SessionError,
    SessionStep,
    in_words,
    not_signed_in,
    unprotected,
    unreachable,
)
from emailrelay_forwarder.session.session_settings import SessionSettings
from emailrelay_forwarder.session.smtp_client import Session
from emailrelay_forwarder.session.tls import context_for
from emailrelay_forwarder.session.transcript import Transcript
from emailrelay_forwarder.session.wire import Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTerms:
    """The terms of a session with one server."""

    policy: Policy
    tls: Tls
    account: Account | None
    host: str | None
    """The name or address of the server as configured; None: it is a unix socket."""

    @property
    def wanted_name(self) -> str | None:
        """The name that the server's certificate must have."""
        return self.tls.verify_name or self.host

    @property
    def asked_name(self) -> str:
        """The name to send to the server (SNI); empty: none."""
        return self.tls.server_name or self.wanted_name or ""

    @property
    def context(self) -> ssl.SSLContext:
        """The TLS context.

        Raises:
            SessionError: there is none for these terms.

        """
        if self.tls.verify and self.wanted_name is None:
            raise unprotected(SessionStep.TLS, "no name to verify: set client-tls-verify-name")
        try:
            return context_for(self.tls, compare=self.asked_name == self.wanted_name)
        except RelayError as error:
            raise unprotected(SessionStep.TLS, str(error)) from error


def terms_for(route: NextServer, settings: SessionSettings) -> SessionTerms:
    """Return the terms of a session with a server.

    Raises:
        SessionError: there is no such account, or it is not for this server.

    """
    policy = route.policy or settings.policy
    try:
        account = settings.accounts(route.account, route)
    except RelayError as error:
        raise not_signed_in(str(error)) from error
    return SessionTerms(
        policy=policy,
        tls=settled(policy, signs_in=account is not None),
        account=account,
        host=None if route.is_unix else route.host.rstrip("."),
    )


async def open_session(route: NextServer, settings: SessionSettings) -> Session:
    """Open a session with the first address that answers, or with the next that works.

    Raises:
        SessionError: that of the last server that answered, or of all addresses without an answer.

    """
    terms = terms_for(route, settings)
    left = await resolve(route, limit=settings.connect, lookups=settings.lookups)
    said: SessionError | None = None
    while True:
        try:
            won = await first_to_answer(left, partial(connect, settings=settings), settings.silent)
        except SessionError as trouble:
            raise said or trouble from None
        left = won.left
        try:
            return await _ready(won.connection, won.address, terms, settings)
        except SessionError as trouble:
            # Another address would refuse the same password as well, and servers count the tries.
            if trouble.step is SessionStep.AUTH or not left:
                raise
            said = trouble


async def _ready(
    wire: Wire, address: SocketAddress, terms: SessionTerms, settings: SessionSettings
) -> Session:
    session = Session(wire, str(address), settings)
    try:
        await make_ready(session, terms)
    except BaseException:  # cancelled as well: no connection may stay open
        session.abort()
        raise
    return session


async def connect(address: SocketAddress, settings: SessionSettings) -> Wire:
    """Connect to one address.

    Raises:
        SessionError: there is no connection within the time limit.

    """
    loop = asyncio.get_running_loop()
    dialogue = settings.dialogue
    transcript = None if dialogue is None else Transcript(dialogue, str(address))
    try:
        async with asyncio.timeout(settings.connect):
            sock = await connected_socket(address, settings)
            try:
                if address.family == socket.AF_UNIX:
                    _, wire = await loop.create_unix_connection(lambda: Wire(transcript), sock=sock)
                else:
                    _, wire = await loop.create_connection(lambda: Wire(transcript), sock=sock)
            except BaseException:  # cancelled as well: no socket may stay open
                sock.close()
                raise
    except TimeoutError as error:
        raise unreachable(f"{address} does not answer within {settings.connect:g} s") from error
    except OSError as error:
        where = f" from {settings.local_address}" if settings.local_address else ""
        raise unreachable(f"no connection to {address}{where}: {in_words(error)}") from error
    return wire


async def connected_socket(address: SocketAddress, settings: SessionSettings) -> socket.socket:
    """Connect a socket to one address, without a time limit; raise OSError if that fails."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        if settings.local_address is not None and address.family != socket.AF_UNIX:
            sock.bind((settings.local_address, 0))
        await asyncio.get_running_loop().sock_connect(sock, address.address)
    except BaseException:  # cancelled as well: no socket may stay open
        sock.close()
        raise
    return sock


async def make_ready(session: Session, terms: SessionTerms) -> None:
    """Greet, encrypt and sign in.

    Raises:
        SessionError: the session cannot be used on these terms; nothing secret was sent.

    """
    mode = terms.tls.mode
    if mode is Mode.IMPLICIT:
        await encrypt(session, terms)
    await session.introduce()
    offered = "starttls" in session.extensions
    if mode is Mode.REQUIRED or (offered and mode not in {Mode.IMPLICIT, Mode.OFF}):
        await session.start_tls()
        await encrypt(session, terms)
        await session.hello()
    if terms.account is not None:
        check_secrecy(session, terms)
        await session.sign_in(terms.account, terms.policy.auth)


def check_secrecy(session: Session, terms: SessionTerms) -> None:
    """Raise SessionError if others could read a password sent now."""
    if session.encryption is None and not terms.policy.in_clear:
        text = "no password goes over a connection without TLS: switch client-tls on"
        raise not_signed_in(text)


async def encrypt(session: Session, terms: SessionTerms) -> None:
    """Begin TLS, and verify the server if the terms require that.

    Raises:
        SessionError: with the problem of the certificate, if that is the reason.

    """
    await session.encrypt(terms.context, terms.asked_name)
    if terms.tls.verify and terms.asked_name != terms.wanted_name:
        _compare(session, terms.wanted_name or "")


def _compare(session: Session, wanted: str) -> None:
    certificate = (session.encryption.getpeercert() if session.encryption else None) or {}
    if not is_for(certificate, wanted):
        names = ", ".join(names_of(certificate)) or "no host"
        text = f"the server's certificate cannot be trusted: it is for {names}, not for {wanted}"
        raise unprotected(SessionStep.TLS, text)
