"""What must hold on a connection to a server before mail or a password goes over it."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from emailrelay.secrets.auth_config import AuthConfig


class Mode(StrEnum):
    """When a connection is encrypted (TLS, RFC 8446 and RFC 5246)."""

    OFF = "off"
    OPPORTUNISTIC = "opportunistic"
    """Where the server offers STARTTLS (RFC 3207); mail goes in clear where it does not."""
    REQUIRED = "required"
    """By STARTTLS, or there is no mail."""
    IMPLICIT = "implicit"
    """From the first octet (port 465, RFC 8314 section 3.3)."""


class Version(StrEnum):
    """The versions of TLS that are spoken; older ones are broken (RFC 8996)."""

    TLS_1_2 = "tlsv1.2"
    TLS_1_3 = "tlsv1.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a connection is encrypted. None, for the first two: as is right for what is to be sent."""

    mode: Mode | None = None
    verify: bool | None = None
    """Whether the server must prove who it is before anything is sent to it."""
    authorities: str | None = None
    """The file or directory of the certificates that vouch for servers; None: the system's."""
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
    """Whether passwords may go over connections without TLS, and to servers that prove nothing."""
    auth: AuthConfig = field(default_factory=AuthConfig)
    """Which mechanisms of AUTH are used."""


def settled(policy: Policy, *, signs_in: bool) -> Tls:
    """Return the TLS of a session, with nothing left open.

    Without a password opportunistic TLS is better than none, though whoever can change the traffic
    can also switch it off. A password goes only to the one it is for: TLS is required then, and the
    server's certificate verified, unless the policy says otherwise in so many words. A server whose
    certificate must be verified cannot be left to answer without one, so that requires TLS as well.
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
