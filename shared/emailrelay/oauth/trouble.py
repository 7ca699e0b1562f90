"""The reason why there is no token, and the remedy, for the administrator."""

from typing import TypeAlias

from emailrelay.config.accounts import BY_PERSON, AccountSettings, OAuth2
from emailrelay.errors import RelayError, StoreError, StoreUnusable
from emailrelay.oauth.clocks import ClockReading
from emailrelay.oauth.endpoint import BadKey, MissingExtra, TokenRefused, Unavailable
from emailrelay.oauth.request import endpoints
from emailrelay.oauth.state import TokenTrouble
from emailrelay.secrets.secret_text import SecretUnusable

_SIGN_IN_CODES = frozenset(
    {"invalid_grant", "interaction_required", "login_required", "consent_required"}
)
"""RFC 6749 section 5.2; codes of Microsoft and OpenID Connect that require a user's sign-in."""


class NotSignedIn(RelayError):
    """No user has signed in yet."""

    temporary = False


Cause: TypeAlias = (
    Unavailable
    | TokenRefused
    | SecretUnusable
    | BadKey
    | MissingExtra
    | NotSignedIn
    | StoreUnusable
    | StoreError
)


def diagnose(
    cause: Cause, account: AccountSettings, *, secrets: str, now: ClockReading
) -> TokenTrouble:
    """Return the reason and the remedy of a failed renewal."""
    advice, lasting = _advice(cause, account)
    return TokenTrouble(
        reason=_reason(cause), advice=advice, at=now, times=1, lasting=lasting, secrets=secrets
    )


def sign_in_again(account: AccountSettings) -> str:
    """Return the advice to sign in again."""
    path = None if account.oauth2 is None else account.oauth2.refresh_token_file
    command = f"emailrelay-auth login {account.name}"
    if path is None:
        return f"sign in again: {command}"
    return f"put a new refresh token into {path}, or sign in again: {command}"


def _reason(cause: Cause) -> str:
    match cause:
        case NotSignedIn():
            return "no user has signed in yet"
        case _:
            return str(cause)


def _advice(cause: Cause, account: AccountSettings) -> tuple[str, bool]:
    """Return the remedy, and whether the error lasts until an administrator acts."""
    oauth2 = account.oauth2
    match cause:
        case Unavailable():
            return "nothing to do if it passes; else check network, proxy and certificates", False
        case TokenRefused():
            return _advice_for(cause.code, account, oauth2), True
        case SecretUnusable() | BadKey():
            return "fix the file; it is read again when it changes", True
        case MissingExtra():
            return "install them and restart the service", True
        case NotSignedIn():
            return f"sign in: emailrelay-auth login {account.name}", True
        case StoreError() | StoreUnusable():
            return (
                "free disk space for the spool, and give its .tokens to the service's user",
                False,
            )


def _advice_for(code: str, account: AccountSettings, oauth2: OAuth2 | None) -> str:
    if oauth2 is None:
        return ""
    if code in _SIGN_IN_CODES and oauth2.grant in BY_PERSON:
        return sign_in_again(account)
    if code == "invalid_grant":
        return f"check the key, its permission to act for {account.user}, and this machine's clock"
    if code in ("invalid_client", "unauthorized_client"):
        proof = oauth2.client_secret_file or oauth2.key_file
        return f"check client_id{f' and {proof}' if proof else ''}; secrets can expire"
    if code == "invalid_scope":
        return f"check the application's permissions; asked for: {endpoints(oauth2).scope}"
    return "compare the account's settings with the provider's"
