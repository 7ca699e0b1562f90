"""What can be set about servers that mail goes to: encryption, and who we are there."""

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from emailrelay.config.declared import Declared
from emailrelay.config.values import Destinations, Domain, Flag, Metavar, comma_list
from emailrelay.secrets import AuthConfig

SYSTEM = "<default>"
"""Stands for the authorities that the system trusts."""
NOBODY = "<none>"
"""Stands for no verification at all, not even where a password is sent."""

_LEAST = ("tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3")
_MOST = ("-tlsv1.2", "-tlsv1.3")
_LIBRARIES = ("openssl", "mbedtls")


def _absolute(path: Path) -> Path:
    return path.absolute()


def _given(value: object) -> object:
    if value == "":
        raise ValueError("must name a file")
    return value


def _key_and_chain(paths: list[Path]) -> list[Path]:
    if len(paths) > 2:
        raise ValueError("is one file, or two: key and chain")
    return paths


def _authorities(value: str) -> str:
    if not value:
        raise ValueError(f"must name a file or directory, or be {SYSTEM} or {NOBODY}")
    return value if value in {SYSTEM, NOBODY} else str(Path(value).absolute())


def _auth_config(text: str) -> str:
    AuthConfig.parse(text)
    return text


def _tls_words(words: list[str]) -> list[str]:
    wrong = [word for word in words if word not in {*_LEAST, *_MOST, *_LIBRARIES}]
    if wrong:
        known = ", ".join(("tlsv1.2", "tlsv1.3", *_MOST))
        raise ValueError(f"{', '.join(wrong)}: not one of {known}")
    if "tlsv1.3" in words and "-tlsv1.2" in words:
        raise ValueError("tlsv1.3 at least and 1.2 at most leaves no version")
    return words


FilePath: TypeAlias = Annotated[
    Path, BeforeValidator(_given), AfterValidator(_absolute), Metavar("FILE")
]
Certificate: TypeAlias = Annotated[
    list[Annotated[Path, AfterValidator(_absolute)]],
    BeforeValidator(comma_list),
    AfterValidator(_key_and_chain),
    Metavar("PEM"),
]
Authorities: TypeAlias = Annotated[str, AfterValidator(_authorities), Metavar("CA")]
TlsWords: TypeAlias = Annotated[
    list[str], BeforeValidator(comma_list), AfterValidator(_tls_words), Metavar("LIST")
]


class TlsVersionOptions(Declared):
    """Versions of TLS."""

    tls_config: TlsWords = Field(default=[], examples=[["tlsv1.3"]])
    """The versions of TLS, with clients and with servers: tlsv1.3 (at least), -tlsv1.2 (at most); never
    less than 1.2."""


class ServerEncryptionOptions(Declared):
    """Encryption towards servers."""

    client_tls: Flag | None = Field(default=None, examples=[True])
    """Encrypt with STARTTLS where the server offers it; no: never. Without this it is encrypted where
    possible, and always, with a verified certificate, where a password is sent."""

    client_tls_connection: Flag = False
    """Encrypt from the first octet, as on port 465."""

    client_tls_required: Flag = False
    """Send nothing unencrypted: mail waits for a server that offers no STARTTLS."""

    client_tls_verify: Authorities | None = Field(default=None, examples=["<default>"])
    """Send nothing to a server whose certificate these authorities do not vouch for: a PEM file, a
    directory, or <default> for the system's. <none>: verify nothing, even where a password is sent."""

    client_tls_verify_name: Domain | None = Field(default=None, examples=["smtp.example.net"])
    """The name that the server's certificate must have; by default the host's as configured."""

    client_tls_server_name: Domain | None = Field(default=None, examples=["smtp.example.net"])
    """The name to ask the server for (SNI); by default the one that is verified."""

    client_tls_certificate: Certificate = Field(
        default=[], examples=[["/etc/emailrelay/client.pem"]]
    )
    """Our key and certificate chain in PEM, for servers that ask for one: one file, or given twice,
    the key and the chain. Read again when it changes."""

    @field_validator("client_tls_connection", "client_tls_required", "client_tls_verify")
    @classmethod
    def _not_without_tls(cls, value: object, info: ValidationInfo) -> object:
        if value and value != NOBODY and info.data.get("client_tls") is False:
            raise ValueError("makes no sense with client_tls = no: leave out one of the two")
        return value

    @field_validator("client_tls_connection")
    @classmethod
    def _one_way(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 -- pydantic calls it
        if value and info.data.get("client_tls"):
            raise ValueError("encrypts already, so leave out client_tls")
        return value


class SignInOptions(Declared):
    """Who we are at servers."""

    client_auth: FilePath | None = Field(default=None, examples=["/etc/emailrelay.auth"])
    """The secrets file with our names and passwords at servers. Read again when it changes; others
    must not be able to read it."""

    client_auth_servers: Destinations = Field(default=[], examples=[["smtp.example.org:587"]])
    """Further servers at which the accounts of client_auth may be used. Without this they are used at
    the servers of the routes that name them, and those that no route names at forward_to and the
    servers of routes that name no account."""

    client_auth_config: Annotated[str, AfterValidator(_auth_config), Metavar("LIST")] = Field(
        default="", examples=["m:plain,login"]
    )
    """Which mechanisms are used: m:plain,login only these, in this order, x:cram-md5 never these;
    joined by semicolons. By default the strongest that both sides have."""

    client_auth_in_clear: Flag = False
    """Let passwords go over connections without TLS, and to servers that prove nothing."""

    @field_validator("client_auth_servers")
    @classmethod
    def _with_accounts(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if value and info.data.get("client_auth", ...) is None:
            raise ValueError("is of use only with client_auth")
        return value
