"""The settings about clients: encryption, login, and access to senders and recipients."""

from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from emailrelay.config.declared import Declared
from emailrelay.config.security_values import Certificate, ClientAuthorities, FilePath, Mechanisms
from emailrelay.config.tables import Table, Tables
from emailrelay.config.values import Flag, Metavar, Networks, destination


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


class Allow(Table):
    """The senders that some clients may use.

    The first table that matches the client applies. A client without such a table may use any
    sender.
    Notices (the empty sender) are always allowed.
    """

    user: Annotated[tuple[str, ...], Metavar("USERS")] = Field(default=(), examples=[("alice",)])
    """The login names of these clients; * is every client that has logged in."""

    network: Annotated[tuple[str, ...], Metavar("NETWORKS")] = Field(
        default=(), examples=[("192.168.0.0/24",)]
    )
    """The addresses of these clients, as 192.168.0.0/24 or fd00::/8, if they have not logged in."""

    sender: Annotated[tuple[str, ...], Field(min_length=1), Metavar("PATTERNS")] = Field(
        examples=[("alice@example.com", "*@lists.example.com")]
    )
    """The senders: user@domain, *@domain, *@*.domain or * (any)."""


class EncryptionOptions(Declared):
    """Encryption with clients."""

    server_tls: Flag = False
    """Offer encryption to clients (STARTTLS)."""

    server_tls_connection: Flag = False
    """Encrypt client connections from the first octet, as on port 465."""

    server_tls_required: Flag = False
    """Refuse mail and logins before the connection is encrypted."""

    server_tls_certificate: Certificate = []
    """The server's key and certificate chain in PEM, as one file, or as the key and the chain.
    Other users must not be able to read the key. The service reads it again at SIGHUP."""

    server_tls_verify: ClientAuthorities | None = None
    """Require certificates of clients from these authorities: a PEM file, or <default>. Every
    client, even on this machine, must then encrypt, as with server_tls_required. The envelope
    contains the certificate."""

    @field_validator("server_tls_certificate")
    @classmethod
    def _has_certificate(cls, value: list[Path], info: ValidationInfo) -> list[Path]:
        if value:
            return value
        for name in ("server_tls", "server_tls_connection", "server_tls_required"):
            if info.data.get(name):
                raise ValueError(f"{name} needs a certificate to show")
        return value

    @field_validator("server_tls_connection")
    @classmethod
    def _not_beside_starttls(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 -- pydantic calls it
        if value and info.data.get("server_tls"):
            raise ValueError(
                "encrypts already, so leave out server_tls (or give it a port of its own)"
            )
        return value

    @property
    def must_encrypt(self) -> bool:
        """Tell whether clients must encrypt. A client that must show a certificate must encrypt."""
        return self.server_tls_required or self.server_tls_verify is not None

    @field_validator("server_tls_required", "server_tls_verify")
    @classmethod
    def _can_encrypt(cls, value: object, info: ValidationInfo) -> object:
        ways = ("server_tls", "server_tls_connection")
        if value and not any(info.data.get(way) for way in ways):
            raise ValueError(f"needs a way to encrypt: {' or '.join(ways)}")
        return value


class AccessOptions(Declared):
    """Logins and permissions of clients."""

    server_auth: FilePath | None = None
    """The secrets file with the names and passwords of clients. With it, a client must log in
    before it can send mail, unless the file trusts its address. Clients on other hosts are served
    after a login. The service reads the file again when it changes. Other users must not be able to
    read it."""

    server_auth_config: Mechanisms = ""
    """The mechanisms to offer, in parts with semicolons between them. m:plain,login: only these;
    x:cram-md5: not these; a:plain: only these under TLS; d:login: not these under TLS. Without
    encryption, only clients on this machine are offered a login, unless m: names the mechanisms."""

    address_verifier: Annotated[str, AfterValidator(_verifier), Metavar("SPEC")] | None = Field(
        default=None, examples=["net:127.0.0.1:10025"]
    )
    """The program that checks recipients: its path, net:HOST:PORT or net:/PATH."""

    lenient: Networks = Field(default=[], examples=["192.168.0.20,192.168.1.0/24"])
    """The networks of devices that write addresses in MAIL and RCPT without angle brackets. The
    receiver accepts this from these networks only."""

    allow: Tables[Allow] = ()
    """The senders that each client may use."""
