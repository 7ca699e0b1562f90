"""The settings about servers that get mail: encryption and accounts."""

from typing import Annotated, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from emailrelay.config.declared import Declared
from emailrelay.config.security_values import (
    NO_VERIFICATION,
    Certificate,
    FilePath,
    Mechanisms,
    ServerAuthorities,
)
from emailrelay.config.values import Destinations, Domain, Flag, Metavar, comma_list

_LEAST = ("tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3")
_MOST = ("-tlsv1.2", "-tlsv1.3")
_LIBRARIES = ("openssl", "mbedtls")


def _tls_words(words: list[str]) -> list[str]:
    wrong = [word for word in words if word not in {*_LEAST, *_MOST, *_LIBRARIES}]
    if wrong:
        known = ", ".join(("tlsv1.2", "tlsv1.3", *_MOST))
        raise ValueError(f"{', '.join(wrong)}: not one of {known}")
    if "tlsv1.3" in words and "-tlsv1.2" in words:
        raise ValueError("tlsv1.3 at least and 1.2 at most leaves no version")
    return words


TlsWords: TypeAlias = Annotated[
    list[str], BeforeValidator(comma_list), AfterValidator(_tls_words), Metavar("LIST")
]


class TlsVersionOptions(Declared):
    """Versions of TLS."""

    tls_config: TlsWords = Field(default=[], examples=[["tlsv1.3"]])
    """The versions of TLS, with clients and with servers. tlsv1.3: at least this one; -tlsv1.2: at
    most this one. Versions before 1.2 are never used."""


class ServerEncryptionOptions(Declared):
    """Encryption with servers."""

    client_tls: Flag | None = Field(default=None, examples=[True])
    """Encrypt with STARTTLS if the server offers it; no: never encrypt. By default, the forwarder
    encrypts if possible. It sends passwords only with encryption and a verified certificate."""

    client_tls_connection: Flag = False
    """Encrypt connections to servers from the first octet, as on port 465."""

    client_tls_required: Flag = False
    """Send nothing unencrypted. If a server offers no STARTTLS, its mail waits."""

    client_tls_verify: ServerAuthorities | None = Field(default=None, examples=["<default>"])
    """The authorities that must have signed the server's certificate: a PEM file, a directory, or
    <default> for those of the system. Other servers get no mail. <none>: verify nothing, even
    before a password is sent."""

    client_tls_verify_name: Domain | None = Field(default=None, examples=["smtp.example.net"])
    """The name that the server's certificate must have. By default, the configured host name."""

    client_tls_server_name: Domain | None = Field(default=None, examples=["smtp.example.net"])
    """The name to request from the server (SNI). By default, the name that is verified."""

    client_tls_certificate: Certificate = Field(
        default=[], examples=[["/etc/emailrelay/client.pem"]]
    )
    """The client's key and certificate chain in PEM, for servers that ask for it, as one file, or
    as the key and the chain. The forwarder reads it again when it changes."""

    @field_validator("client_tls_connection", "client_tls_required", "client_tls_verify")
    @classmethod
    def _not_without_tls(cls, value: object, info: ValidationInfo) -> object:
        if value and value != NO_VERIFICATION and info.data.get("client_tls") is False:
            raise ValueError("makes no sense with client_tls = no: leave out one of the two")
        return value

    @field_validator("client_tls_connection")
    @classmethod
    def _not_beside_starttls(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 -- pydantic calls it
        if value and info.data.get("client_tls"):
            raise ValueError("encrypts already, so leave out client_tls")
        return value


class SignInOptions(Declared):
    """Login at servers."""

    client_auth: FilePath | None = Field(default=None, examples=["/etc/emailrelay/emailrelay.auth"])
    """The secrets file with the names and passwords for servers. The forwarder reads it again when
    it changes. Other users must not be able to read it."""

    client_auth_servers: Destinations = Field(default=[], examples=[["smtp.example.org:587"]])
    """Further servers for the accounts of client_auth. By default, an account is used at the
    servers of the routes that name it. An account that no route names is used at forward_to and at
    the servers of routes without an account."""

    client_auth_config: Mechanisms = Field(default="", examples=["m:plain,login"])
    """The mechanisms to use, in parts with semicolons between them. m:plain,login: only these, in
    this order; x:cram-md5: not these. By default, the strongest mechanism of both sides."""

    client_auth_in_clear: Flag = False
    """Send passwords also without TLS, and to servers without a verified certificate."""

    @field_validator("client_auth_servers")
    @classmethod
    def _with_accounts(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if value and info.data.get("client_auth", ...) is None:
            raise ValueError("has an effect only with client_auth")
        return value
