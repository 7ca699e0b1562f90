"""Builds the token requests of an account: plain functions over its settings."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from emailrelay.config.accounts import AccountSettings, Grant, OAuth2, Provider
from emailrelay.oauth.credentials import OAuthCredentials
from emailrelay.secrets.secret import Secret

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_MICROSOFT = "https://login.microsoftonline.com"
_GOOGLE = "https://oauth2.googleapis.com/token"
_APPLICATION_SCOPE = "https://outlook.office365.com/.default"
_DELEGATED_SCOPE = "https://outlook.office.com/SMTP.Send offline_access"
_GOOGLE_SCOPE = "https://mail.google.com/"

_EARLIER = 60
_LATER = 540
"""Seconds before and after now in which an assertion is valid.

Other clocks differ, and providers require a short time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The addresses that issue an account's tokens, and the scope of the tokens."""

    token_url: str
    device_url: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Our identity at a token endpoint; ``secret`` is None for an application without one."""

    id: str
    secret: Secret | None = None
    basic: bool = False
    """True: the secret goes into the header (RFC 6749 section 2.3.1); False: into the form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """A statement to sign with a private key (RFC 7523)."""

    key: Secret
    algorithm: str
    header: Mapping[str, str]
    claims: Mapping[str, str | int]


def endpoints(oauth2: OAuth2) -> Endpoints:
    """Return the addresses and the scope of an account: its own, else its provider's."""
    token_url, device_url, scope = _known(oauth2)
    return Endpoints(
        token_url=oauth2.token_url or token_url,
        device_url=oauth2.device_authorization_url or device_url,
        scope=oauth2.scope or scope,
    )


def _known(oauth2: OAuth2) -> tuple[str, str, str]:
    match oauth2.provider:
        case Provider.MICROSOFT:
            base = f"{_MICROSOFT}/{oauth2.tenant}/oauth2/v2.0"
            application = oauth2.grant is Grant.CLIENT_CREDENTIALS
            scope = _APPLICATION_SCOPE if application else _DELEGATED_SCOPE
            return f"{base}/token", f"{base}/devicecode", scope
        case Provider.GOOGLE:
            return _GOOGLE, "", _GOOGLE_SCOPE
        case Provider.CUSTOM:
            return "", "", ""


def identity(account: AccountSettings) -> str:
    """Return the identity of a sign-in: stored tokens are useless with other settings."""
    oauth2 = account.oauth2
    if oauth2 is None:
        return ""
    where = endpoints(oauth2)
    facts = [account.user, oauth2.grant, oauth2.client_id, where.token_url, where.scope]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def client(oauth2: OAuth2, credentials: OAuthCredentials) -> Client:
    """Return our identity; a client that signs its requests shows no secret."""
    return Client(
        id=oauth2.client_id or "",
        secret=credentials.client_secret,
        # Every server must accept the header and may accept the form; these two document the form.
        basic=oauth2.provider is Provider.CUSTOM,
    )


def form(oauth2: OAuth2, refresh_token: Secret | None) -> dict[str, str]:
    """Return the fields of a token request that need no signature.

    Raises:
        LookupError: there is no refresh token yet.

    """
    scope = endpoints(oauth2).scope
    scoped = {"scope": scope} if scope else {}
    match oauth2.grant:
        case Grant.CLIENT_CREDENTIALS:
            return {"grant_type": "client_credentials", **scoped}  # RFC 6749 section 4.4.2
        case Grant.DEVICE_CODE | Grant.REFRESH_TOKEN:
            if refresh_token is None:
                raise LookupError("no user has signed in yet")
            # RFC 6749 section 6. Google knows the scope of its refresh tokens.
            return {
                "grant_type": "refresh_token",
                "refresh_token": refresh_token.reveal(),
                **({} if oauth2.provider is Provider.GOOGLE else scoped),
            }
        case Grant.SERVICE_ACCOUNT:
            # RFC 7523 section 2.1; Google requires the scope in the signed statement.
            return {
                "grant_type": JWT_BEARER,
                **({} if oauth2.provider is Provider.GOOGLE else scoped),
            }


def statement(
    account: AccountSettings, oauth2: OAuth2, credentials: OAuthCredentials, *, now: float, jti: str
) -> tuple[str, Claims] | None:
    """Return the field's name and the statement to sign; None for grants without a signature.

    ``jti`` is a string that was never used before.
    """
    key = credentials.key
    if key is None:
        return None
    where = endpoints(oauth2)
    common: dict[str, str | int] = {
        "aud": where.token_url,
        "jti": jti,
        "iat": int(now) - _EARLIER,
        "nbf": int(now) - _EARLIER,
        "exp": int(now) + _LATER,
    }
    if oauth2.grant is Grant.SERVICE_ACCOUNT:
        issuer = credentials.issuer or oauth2.client_id or ""
        claims: dict[str, str | int] = {"iss": issuer, "sub": account.user, **common}
        if oauth2.provider is Provider.GOOGLE:
            claims["scope"] = where.scope
        header = {"kid": credentials.key_id} if credentials.key_id else {}
        return "assertion", Claims(key=key, algorithm="RS256", header=header, claims=claims)
    own = oauth2.client_id or ""
    return "client_assertion", Claims(
        key=key,
        algorithm="PS256",
        header={"x5t#S256": credentials.thumbprint} if credentials.thumbprint else {},
        claims={"iss": own, "sub": own, **common},
    )
