"""Our accounts at servers, and the proof of each: a password or a token."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from emailrelay.secrets import ClientAccount, Form, Mechanism, Secret
from emailrelay_forwarder.session.route import NextServer

_BY_FORM = {
    Form.PLAIN: (Mechanism.CRAM_MD5, Mechanism.PLAIN, Mechanism.LOGIN),
    Form.MD5: (Mechanism.CRAM_MD5,),
}
_WITH_TOKEN = (Mechanism.OAUTHBEARER, Mechanism.XOAUTH2)


class TokenSource(Protocol):
    """Returns a bearer token."""

    async def __call__(self, *, renew: bool) -> Secret:
        """Return the token; with ``renew`` a new one, since the last was refused.

        Raises:
            RelayError: there is no token.

        """
        ...


@dataclass(frozen=True, slots=True)
class PasswordAccount:
    """An account with a password, or with a hash of it that serves CRAM-MD5."""

    account: ClientAccount
    mechanisms: tuple[Mechanism, ...]
    """Its mechanisms, the strongest first."""

    @property
    def user(self) -> str:
        """The name to log in with."""
        return self.account.id


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """An account with a bearer token (RFC 6750)."""

    user: str
    token: TokenSource
    mechanisms: tuple[Mechanism, ...] = _WITH_TOKEN


Account: TypeAlias = PasswordAccount | TokenAccount

Accounts: TypeAlias = Callable[[str, NextServer], Account | None]
"""Returns the account of a selector for a server; None: do not sign in.

Raises a ``RelayError`` if there is no such account, or if it is not for this server.
"""


def nobody(_selector: str, _server: NextServer) -> None:
    """Sign in nowhere: there are no accounts."""


def of_secrets(account: ClientAccount) -> Account:
    """Return the account of a line of the secrets file; a token in it cannot be renewed."""
    if account.form is Form.OAUTH:

        async def token(*, renew: bool) -> Secret:  # noqa: ARG001 -- there is no other
            return account.secret

        return TokenAccount(account.id, token)
    return PasswordAccount(account, _BY_FORM[account.form])
