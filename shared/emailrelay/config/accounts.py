"""The table ``[[account]]``: an account at a server that requires a login."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from emailrelay.config.declared import Declared
from emailrelay.config.security_values import FilePath
from emailrelay.config.tables import Table, Tables
from emailrelay.config.values import Destination
from emailrelay.secrets import Mechanism

_WITH_TOKEN = (Mechanism.XOAUTH2, Mechanism.OAUTHBEARER)


class Provider(StrEnum):
    """The issuer of the tokens: with known addresses and scopes, or with your own."""

    MICROSOFT = "microsoft"
    GOOGLE = "google"
    CUSTOM = "custom"


class Grant(StrEnum):
    """The grant for a token."""

    CLIENT_CREDENTIALS = "client-credentials"
    DEVICE_CODE = "device-code"
    REFRESH_TOKEN = "refresh-token"  # noqa: S105 -- the name of a grant
    SERVICE_ACCOUNT = "service-account"


BY_PERSON = (Grant.DEVICE_CODE, Grant.REFRESH_TOKEN)
"""Grants that begin with the sign-in of a person."""


def _in_capitals(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _secure(url: str) -> str:
    # It gets secrets: RFC 6749 section 3.2 requires TLS.
    if not url.startswith("https://") or any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("must be a URL that begins with https://")
    return url


AnyCase: TypeAlias = Annotated[Mechanism, BeforeValidator(_in_capitals)]
HttpsUrl: TypeAlias = Annotated[str, AfterValidator(_secure)]


class OAuth2(Declared):
    """The source of an account's tokens, and the grant for them."""

    provider: Provider = Provider.CUSTOM
    """The issuer of the tokens: microsoft, google, or custom with its own URLs."""

    grant: Grant = Field(examples=[Grant.REFRESH_TOKEN])
    """The grant for a token: client-credentials, device-code (a person signs in once),
    refresh-token, or service-account (a key that may act for the user)."""

    tenant: str | None = Field(default=None, examples=["example.onmicrosoft.com"])
    """Microsoft's directory (tenant): its id or one of its domains."""

    client_id: str | None = Field(default=None, examples=["11111111-2222-3333-4444-555555555555"])
    """The id of the application, from its registration with the provider."""

    client_secret_file: FilePath | None = Field(
        default=None, examples=["/etc/emailrelay/office.secret"]
    )
    """A file with the application's secret. Other users must not be able to read it."""

    key_file: FilePath | None = Field(default=None, examples=["/etc/emailrelay/office.key"])
    """A file with a private key: PEM, or the JSON file of a Google service account."""

    certificate_file: FilePath | None = Field(default=None, examples=["/etc/emailrelay/office.pem"])
    """The certificate (PEM) for key_file, with client-credentials."""

    refresh_token_file: FilePath | None = Field(
        default=None, examples=["/etc/emailrelay/google.token"]
    )
    """A file with a refresh token. Without it, emailrelay-auth login asks for one."""

    token_url: HttpsUrl | None = Field(default=None, examples=["https://login.example.net/token"])
    """The URL that issues tokens; built in for microsoft and google."""

    device_authorization_url: HttpsUrl | None = Field(
        default=None, examples=["https://login.example.net/device"]
    )
    """The URL that issues device codes; built in for microsoft."""

    scope: str | None = Field(default=None, examples=["https://mail.example.net/smtp"])
    """The scope of the token; built in for microsoft and google."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wrong = list(_problems(self))
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class AccountSettings(Table):
    """An account at a server; routes name it."""

    mechanism: AnyCase = Mechanism.PLAIN
    """The login mechanism: plain, login or cram-md5 with a password, xoauth2 or oauthbearer with a
    token."""

    user: str = Field(examples=["relay@example.net"])
    """The user's name at the server, often an address."""

    password_file: FilePath | None = Field(default=None, examples=["/etc/emailrelay/shop.password"])
    """A file with the password. Other users must not be able to read it."""

    oauth2: OAuth2 | None = None
    """The table [account.oauth2], for xoauth2 and oauthbearer."""

    servers: tuple[Destination, ...] = Field(default=(), examples=[("smtp.example.net:587",)])
    """Further servers for the account, besides those of the routes that name it. An account
    with neither is used at forward_to and at the servers of routes without an account."""

    @model_validator(mode="after")
    def _proves_one_way(self) -> Self:
        if not self.user or not self.user.isprintable():
            raise ValueError("user must be a name without control characters")
        if self.mechanism in _WITH_TOKEN:
            if self.oauth2 is None or self.password_file is not None:
                raise ValueError(
                    f"mechanism {self.mechanism.lower()} takes [account.oauth2] "
                    "and no password_file"
                )
        elif self.password_file is None or self.oauth2 is not None:
            raise ValueError(
                f"mechanism {self.mechanism} takes a password_file and no [account.oauth2]"
            )
        return self


class AccountOptions(Declared):
    """Accounts at servers."""

    account: Tables[AccountSettings] = ()
    """Accounts at servers, by the name that a [[route]] gives; also with OAuth2."""


def _problems(table: OAuth2) -> Iterator[str]:
    yield from _unfit_grant(table)
    yield from _unfit_files(table)
    if table.provider is Provider.CUSTOM and table.token_url is None:
        yield "token_url is needed with provider custom"
    if (table.provider is Provider.MICROSOFT) != (table.tenant is not None):
        yield "tenant is needed with provider microsoft, and with no other"
    if table.tenant is not None and not table.tenant.replace("-", "").replace(".", "").isalnum():
        yield "tenant must be an id or a domain"
    # The key file of a Google service account contains it.
    in_key_file = table.grant is Grant.SERVICE_ACCOUNT and table.provider is Provider.GOOGLE
    if table.client_id is None and not in_key_file:
        yield "client_id is needed"


def _unfit_files(table: OAuth2) -> Iterator[str]:
    if (table.refresh_token_file is not None) and table.grant is not Grant.REFRESH_TOKEN:
        yield "refresh_token_file is for grant refresh-token only"
    if table.provider is Provider.MICROSOFT and table.key_file and not table.certificate_file:
        yield "Microsoft knows a key by its certificate: certificate_file is needed beside key_file"
    if table.certificate_file is not None and table.key_file is None:
        yield "certificate_file has an effect only with key_file"
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
                # Google allows its "TV and limited-input devices" only a few scopes.
                # Mail is not among them.
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
