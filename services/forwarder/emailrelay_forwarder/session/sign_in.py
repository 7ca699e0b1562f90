"""AUTH over an open connection (RFC 4954): one account, one proof, at most one renewed token."""

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import Protocol

from emailrelay.errors import RelayError
from emailrelay.reply import Reply
from emailrelay.secrets import AuthConfig, Mechanism
from emailrelay_forwarder.session import sasl
from emailrelay_forwarder.session.account import Account, PasswordAccount, TokenAccount
from emailrelay_forwarder.session.sasl import ClientExchange, OutOfTurn
from emailrelay_forwarder.session.session_error import (
    NoToken,
    SessionError,
    SessionStep,
    garbled,
    not_signed_in,
)
from emailrelay_forwarder.session.wire import RawReply

LONGEST_COMMAND = 510
"""Octets of an AUTH command: a longer initial response waits for a challenge (section 4)."""
_UNKNOWN_MECHANISM = 504


class Exchanging(Protocol):
    """The connection that an exchange goes over."""

    async def ask(self, line: bytes) -> RawReply:
        """Send a line of the exchange and return the reply."""
        ...

    def hide(self, secret: bytes) -> None:
        """Hide this in all further replies."""
        ...


def offered(extensions: Mapping[str, str]) -> tuple[Mechanism, ...]:
    """Return the known mechanisms that an EHLO reply offers."""
    words = extensions.get("auth", "").upper().replace("=", " ").replace(",", " ").split()
    return tuple(mechanism for mechanism in Mechanism if mechanism in words)


def choice(
    account: Account, extensions: Mapping[str, str], auth: AuthConfig, *, encrypted: bool
) -> tuple[Mechanism, ...]:
    """Return the mechanisms that server, account and configuration allow, the preferred first."""
    there = offered(extensions)
    possible = [mechanism for mechanism in account.mechanisms if mechanism in there]
    return auth.choose(possible, encrypted=encrypted)


async def sign_in(
    wire: Exchanging,
    account: Account,
    mechanisms: tuple[Mechanism, ...],
    extensions: Mapping[str, str],
) -> Mechanism:
    """Authenticate; return the mechanism used.

    A refused password is not tried again, not even by another mechanism: some servers lock accounts
    after a number of tries. Only if a server does not know a mechanism is the next one tried.

    Raises:
        SessionError: the server refused; its step is ``SessionStep.AUTH``.

    """
    if not mechanisms:
        raise not_signed_in(_nothing_common(account, extensions))
    for mechanism in mechanisms[:-1]:
        try:
            return await _by(mechanism, wire, account)
        except SessionError as trouble:
            if trouble.reply.code != _UNKNOWN_MECHANISM:
                raise
    return await _by(mechanisms[-1], wire, account)


async def _by(mechanism: Mechanism, wire: Exchanging, account: Account) -> Mechanism:
    match account:
        case PasswordAccount():
            await _run(wire, sasl.by_password(mechanism, account.account))
        case TokenAccount():
            await _with_token(mechanism, wire, account)
    return mechanism


async def _with_token(mechanism: Mechanism, wire: Exchanging, account: TokenAccount) -> None:
    try:
        token = await account.token(renew=False)
        try:
            await _run(wire, sasl.by_token(mechanism, account.user, token))
        except SessionError as trouble:
            if trouble.reply.code != 535:
                raise
            renewed = await account.token(renew=True)
            if renewed.reveal() == token.reveal():
                raise
            await _run(wire, sasl.by_token(mechanism, account.user, renewed))
    except SessionError:
        raise
    except RelayError as error:
        raise NoToken(f"no token for {account.user}: {error}") from error


async def _run(wire: Exchanging, exchange: ClientExchange) -> None:
    """Run one exchange to its end."""
    command = b"AUTH " + exchange.mechanism.encode()
    wire.hide(exchange.secret.reveal().encode())
    waiting = exchange.initial
    if waiting is not None and len(command) + 1 + 4 * (len(waiting) // 3 + 1) <= LONGEST_COMMAND:
        command, waiting = command + b" " + b64encode(waiting), None
    answer = await wire.ask(command)
    number = 0
    while answer.code == 334:
        try:
            if waiting is None:
                octets = exchange.answer(number, b64decode(answer.message, validate=True))
                number += 1
            else:
                octets, waiting = waiting, None
        except (OutOfTurn, NotBase64, ValueError) as error:
            await wire.ask(b"*")  # cancels the exchange (section 4)
            text = f"{exchange.mechanism} is not asked for like this"
            raise garbled(SessionStep.AUTH, text) from error
        if exchange.mechanism is Mechanism.CRAM_MD5:
            wire.hide(octets)  # it allows to guess the password offline
        answer = await wire.ask(b64encode(octets))
    if answer.code == 235:
        return
    if answer.code < 400:
        raise garbled(SessionStep.AUTH, f"the answer had the code {answer.code}")
    raise SessionError(SessionStep.AUTH, Reply.of(*answer))


def _nothing_common(account: Account, extensions: Mapping[str, str]) -> str:
    there = extensions.get("auth", "").strip() or "none"
    ours = ", ".join(account.mechanisms)
    return f"no common way to sign in as {account.user}: the server offers {there}; we have {ours}"
