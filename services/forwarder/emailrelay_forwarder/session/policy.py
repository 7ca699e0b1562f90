"""The conditions on a connection to a server before mail or a password goes over it."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from emailrelay.secrets.auth_config import AuthConfig


class Mode(StrEnum):
    """The use of TLS on a connection (RFC 8446 and RFC 5246)."""

    OFF = "off"
    OPPORTUNISTIC = "opportunistic"
    """If the server offers STARTTLS (RFC 3207); otherwise mail goes in clear."""
    REQUIRED = "required"
    """By STARTTLS; otherwise no mail is sent."""
    IMPLICIT = "implicit"
    """From the first octet (port 465, RFC 8314 section 3.3)."""


class Version(StrEnum):
    """The supported versions of TLS; older ones are insecure (RFC 8996)."""

    TLS_1_2 = "tlsv1.2"
    TLS_1_3 = "tlsv1.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The TLS settings. None, for the first two: according to the traffic, see ``settled``."""

    mode: Mode | None = None
    verify: bool | None = None
    """True if the certificate of the server is verified before anything is sent."""
    authorities: str | None = None
    """The file or directory of trusted CA certificates; None: the system's."""
    verify_name: str | None = None
    """The name that the server's certificate must have; None: the host's that was connected to."""
    server_name: str | None = None
    """The name to ask the server for (SNI, RFC 6066 section 3); None: as for ``verify_name``."""
    certificate: tuple[str, ...] = ()
    """Files with our own key and certificate chain, in PEM: one with both, or two in this order."""
    least: Version = Version.TLS_1_2
    most: Version = Version.TLS_1_3


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules for the sessions of one server."""

    tls: Tls = field(default_factory=Tls)
    in_clear: bool = False
    """True if passwords may go over connections without TLS, and to unverified servers."""
    auth: AuthConfig = field(default_factory=AuthConfig)
    """The mechanisms of AUTH in use."""


def settled(policy: Policy, *, signs_in: bool) -> Tls:
    """Return the TLS settings of a session without open choices.

    Without a password opportunistic TLS is better than none, although an attacker who can change
    the traffic can switch it off. A password requires TLS and a verified certificate, unless the
    policy explicitly says otherwise. A certificate that must be verified requires TLS as well.
    """
    tls = policy.tls
    secret = signs_in and not policy.in_clear
    verify = secret if tls.verify is None else tls.verify
    if tls.mode is Mode.OFF:
        return replace(tls, verify=False)
    mode = tls.mode or Mode.OPPORTUNISTIC
    if mode is Mode.OPPORTUNISTIC and (verify or secret):
        mode = Mode.REQUIRED
    return replace(tls, mode=mode, verify=verify)
