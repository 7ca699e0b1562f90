"""What can be set about clients who come in: encryption, who they are, which recipients there are."""

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
from emailrelay.config.tables import Table, Tables
from emailrelay.config.values import Flag, Metavar, Networks, comma_list, destination
from emailrelay.secrets import AuthConfig

DEFAULT_AUTHORITIES = "<default>"
"""Stands for the authorities that the system trusts."""


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
        raise ValueError(f"must name a file, or be {DEFAULT_AUTHORITIES}")
    return value if value == DEFAULT_AUTHORITIES else str(Path(value).absolute())


def _auth_config(text: str) -> str:
    AuthConfig.parse(text)
    return text


def _verifier(spec: str) -> str:
    kind, colon, rest = spec.partition(":")
    if colon and kind == "net":
        return f"net:{destination(rest)}"
    if colon and kind != "file" and kind.replace("-", "").isalnum():
        raise ValueError(
            f"there is no kind {kind!r}; it can be the path of a program, file:PATH, net:HOST:PORT "
            "or net:/PATH"
        )
    path = rest if colon and kind == "file" else spec
    if not path:
        raise ValueError("must be the path of a program, net:HOST:PORT or net:/PATH")
    return str(Path(path).absolute())


SecretsPath: TypeAlias = Annotated[
    Path, BeforeValidator(_given), AfterValidator(_absolute), Metavar("FILE")
]
ClientCertificate: TypeAlias = Annotated[
    list[Annotated[Path, AfterValidator(_absolute)]],
    BeforeValidator(comma_list),
    AfterValidator(_key_and_chain),
    Metavar("PEM"),
]


class Allow(Table):
    """Which senders somebody may use.

    The first table that fits the client decides; a client whom none fits may use any sender. Notices
    (the empty sender) are always allowed.
    """

    user: Annotated[tuple[str, ...], Metavar("USERS")] = Field(default=(), examples=[("alice",)])
    """The names they log in with; * is everyone who logged in."""

    network: Annotated[tuple[str, ...], Metavar("NETWORKS")] = Field(
        default=(), examples=[("192.168.0.0/24",)]
    )
    """The addresses they come from, as 192.168.0.0/24 or fd00::/8, when they have not logged in."""

    sender: Annotated[tuple[str, ...], Field(min_length=1), Metavar("PATTERNS")] = Field(
        examples=[("alice@example.com", "*@lists.example.com")]
    )
    """The senders: user@domain, *@domain, *@*.domain or * (any)."""


def _encrypts(info: ValidationInfo) -> bool:
    return bool(info.data.get("server_tls") or info.data.get("server_tls_connection"))


class EncryptionOptions(Declared):
    """Encryption."""

    server_tls: Flag = False
    """Offer encryption to clients (STARTTLS)."""

    server_tls_connection: Flag = False
    """Encrypt from the first octet, as on port 465."""

    server_tls_required: Flag = False
    """Take nothing from a client before the connection is encrypted."""

    server_tls_certificate: ClientCertificate = []
    """Our key and certificate chain in PEM: one file, or given twice, the key and the chain. The key
    must not be readable by others. Read again at SIGHUP."""

    server_tls_verify: Annotated[str, AfterValidator(_authorities), Metavar("CA")] | None = None
    """Ask clients for a certificate, and serve only those for whom these authorities (a PEM file, or
    <default>) vouch. So every client, local ones too, must encrypt, as with server_tls_required. The
    certificate is kept in the envelope."""

    @field_validator("server_tls_certificate")
    @classmethod
    def _needed(cls, value: list[Path], info: ValidationInfo) -> list[Path]:
        if value:
            return value
        for name in ("server_tls", "server_tls_connection", "server_tls_required"):
            if info.data.get(name):
                raise ValueError(f"{name} needs a certificate to show")
        return value

    @field_validator("server_tls_connection")
    @classmethod
    def _one_way(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 -- pydantic calls it
        if value and info.data.get("server_tls"):
            raise ValueError(
                "encrypts already, so leave out server_tls (or give it a port of its own)"
            )
        return value

    @field_validator("server_tls_verify")
    @classmethod
    def _asked_for(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not _encrypts(info):
            raise ValueError("needs a way to encrypt: server_tls or server_tls_connection")
        return value

    @property
    def must_encrypt(self) -> bool:
        """Tell whether nothing is taken from a client before it encrypts: only then has it a certificate."""
        return self.server_tls_required or self.server_tls_verify is not None

    @field_validator("server_tls_required")
    @classmethod
    def _possible(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 -- pydantic calls it
        if value and not _encrypts(info):
            raise ValueError("needs a way to encrypt: server_tls or server_tls_connection")
        return value


class AccessOptions(Declared):
    """Who may send what."""

    server_auth: SecretsPath | None = None
    """The secrets file with the names and passwords of clients. With it, a client must log in before
    it can send mail, unless the file trusts its address; and clients on other hosts are served when
    they do. Read again when it changes; others must not be able to read it."""

    server_auth_config: Annotated[str, AfterValidator(_auth_config), Metavar("LIST")] = ""
    """Which mechanisms are offered: m:plain,login only these, x:cram-md5 never these, a:plain only
    these under TLS, d:login not these under TLS; joined by semicolons. Without encryption only clients
    on this machine are offered any, unless m: names them."""

    address_verifier: Annotated[str, AfterValidator(_verifier), Metavar("SPEC")] | None = Field(
        default=None, examples=["net:127.0.0.1:10025"]
    )
    """What says which recipients there are: the path of a program, net:HOST:PORT or net:/PATH."""

    lenient: Networks = Field(default=[], examples=["192.168.0.20,192.168.1.0/24"])
    """The addresses and networks of devices that write the addresses of MAIL and RCPT without the angle
    brackets: from there they are taken so. By default nobody's are."""

    allow: Tables[Allow] = ()
    """Which senders each client may use."""
