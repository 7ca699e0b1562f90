"""The table ``[[account]]``: who we are at a server that wants a login."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from emailrelay.config.declared import Declared
from emailrelay.config.servers import FilePath
from emailrelay.config.tables import Table, Tables
from emailrelay.config.values import Destination
from emailrelay.secrets import Mechanism

_WITH_TOKEN = (Mechanism.XOAUTH2, Mechanism.OAUTHBEARER)


class Provider(StrEnum):
    """Who issues the tokens: known addresses and scopes, or your own."""

    MICROSOFT = "microsoft"
    GOOGLE = "google"
    CUSTOM = "custom"


class Grant(StrEnum):
    """What a token is asked for with."""

    CLIENT_CREDENTIALS = "client-credentials"
    DEVICE_CODE = "device-code"
    REFRESH_TOKEN = "refresh-token"  # noqa: S105 -- the name of a grant
    SERVICE_ACCOUNT = "service-account"


BY_PERSON = (Grant.DEVICE_CODE, Grant.REFRESH_TOKEN)
"""Grants that begin with a person who signs in."""


def _in_capitals(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _secure(url: str) -> str:
    # Secrets go there: RFC 6749 section 3.2 demands TLS.
    if not url.startswith("https://") or any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("must be a URL that begins with https://")
    return url


AnyCase: TypeAlias = Annotated[Mechanism, BeforeValidator(_in_capitals)]
HttpsUrl: TypeAlias = Annotated[str, AfterValidator(_secure)]


class OAuth2(Declared):
    """Where an account's tokens come from, and what they are asked for with."""

    provider: Provider = Provider.CUSTOM
    """Who issues the tokens: microsoft, google, or custom with addresses of its own."""

    grant: Grant = Field(examples=[Grant.REFRESH_TOKEN])
    """What a token is asked for with: client-credentials, device-code (a person signs in once),
    refresh-token, or service-account (a key that may act for the user)."""

    tenant: str | None = Field(default=None, examples=["example.onmicrosoft.com"])
    """Microsoft's directory (tenant): its id or one of its domains."""

    client_id: str | None = Field(default=None, examples=["11111111-2222-3333-4444-555555555555"])
    """The id of the application, as the provider registered it."""

    client_secret_file: FilePath | None = Field(
        default=None, examples=["/etc/emailrelay/office.secret"]
    )
    """A file with the application's secret, which others must not be able to read."""

    key_file: FilePath | None = Field(default=None, examples=["/etc/emailrelay/office.key"])
    """A file with a private key: PEM, or the JSON file of a Google service account."""

    certificate_file: FilePath | None = Field(default=None, examples=["/etc/emailrelay/office.pem"])
    """The certificate (PEM) that belongs to key_file, for client-credentials."""

    refresh_token_file: FilePath | None = Field(
        default=None, examples=["/etc/emailrelay/google.token"]
    )
    """A file with a refresh token; without one, emailrelay-auth login asks for it."""

    token_url: HttpsUrl | None = Field(default=None, examples=["https://login.example.net/token"])
    """Where tokens come from; known for microsoft and google."""

    device_authorization_url: HttpsUrl | None = Field(
        default=None, examples=["https://login.example.net/device"]
    )
    """Where a device asks for a code; known for microsoft."""

    scope: str | None = Field(default=None, examples=["https://mail.example.net/smtp"])
    """What the token is to be good for; known for microsoft and google."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wrong = list(_problems(self))
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class AccountSettings(Table):
    """Who we are at a server; routes name it."""

    mechanism: AnyCase = Mechanism.PLAIN
    """How to log in: plain, login, cram-md5 with a password, xoauth2, oauthbearer with a token."""

    user: str = Field(examples=["relay@example.net"])
    """The user's name at the server, often an address."""

    password_file: FilePath | None = Field(default=None, examples=["/etc/emailrelay/shop.password"])
    """A file with the password, which others must not be able to read."""

    oauth2: OAuth2 | None = None
    """The table [account.oauth2], for xoauth2 and oauthbearer."""

    servers: tuple[Destination, ...] = Field(default=(), examples=[("smtp.example.net:587",)])
    """Servers at which the account may be used, beside those of the routes that name it. An account
    that has neither is for forward_to and the servers of routes that name no account."""

    @model_validator(mode="after")
    def _proves_one_way(self) -> Self:
        if not self.user or not self.user.isprintable():
            raise ValueError("user must be a name without control characters")
        if self.mechanism in _WITH_TOKEN:
            if self.oauth2 is None or self.password_file is not None:
                raise ValueError(
                    f"mechanism {self.mechanism.lower()} takes [account.oauth2] and no password_file"
                )
        elif self.password_file is None or self.oauth2 is not None:
            raise ValueError(
                f"mechanism {self.mechanism} takes a password_file and no [account.oauth2]"
            )
        return self


class AccountOptions(Declared):
    """Accounts at servers."""

    account: Tables[AccountSettings] = ()
    """Who we are at servers, by the name that a [[route]] gives; also with OAuth2."""


def _problems(table: OAuth2) -> Iterator[str]:
    yield from _unfit_grant(table)
    yield from _unfit_files(table)
    if table.provider is Provider.CUSTOM and table.token_url is None:
        yield "token_url is needed with provider custom"
    if (table.provider is Provider.MICROSOFT) != (table.tenant is not None):
        yield "tenant is needed with provider microsoft, and with no other"
    if table.tenant is not None and not table.tenant.replace("-", "").replace(".", "").isalnum():
        yield "tenant must be an id or a domain"
    if table.client_id is None and not _in_key_file(table):
        yield "client_id is needed"


def _unfit_files(table: OAuth2) -> Iterator[str]:
    if (table.refresh_token_file is not None) and table.grant is not Grant.REFRESH_TOKEN:
        yield "refresh_token_file is for grant refresh-token only"
    if table.provider is Provider.MICROSOFT and table.key_file and not table.certificate_file:
        yield "Microsoft knows a key by its certificate: certificate_file is needed beside key_file"
    if table.certificate_file is not None and table.key_file is None:
        yield "certificate_file is of use only with key_file"
    if table.client_secret_file is not None and table.key_file is not None:
        yield "client_secret_file and key_file exclude each other"


def _unfit_grant(table: OAuth2) -> Iterator[str]:
    match table.grant:
        case Grant.CLIENT_CREDENTIALS:
            if table.provider is Provider.GOOGLE:
                yield "Google has no grant client-credentials: use service-account"
            if table.client_secret_file is None and table.key_file is None:
                yield "grant client-credentials needs client_secret_file, or key_file"
        case Grant.DEVICE_CODE:
            if table.provider is Provider.GOOGLE:
                # Only a few scopes are open to its "TV and limited-input devices", mail not among them.
                yield "Google gives devices no access to mail: use refresh-token or service-account"
            if table.provider is Provider.CUSTOM and table.device_authorization_url is None:
                yield "grant device-code needs device_authorization_url"
        case Grant.REFRESH_TOKEN:
            pass
        case Grant.SERVICE_ACCOUNT:
            if table.provider is Provider.MICROSOFT:
                yield "Microsoft has no grant service-account: use client-credentials"
            if table.key_file is None:
                yield "grant service-account needs key_file"


def _in_key_file(table: OAuth2) -> bool:
    return table.grant is Grant.SERVICE_ACCOUNT and table.provider is Provider.GOOGLE
