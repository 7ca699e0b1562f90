"""The rights of a client, derived from its address, login and certificate by plain rules."""

from dataclasses import dataclass, field

from emailrelay.envelope import NULL_SENDER, Address
from emailrelay.secrets.auth_config import AuthConfig, Mechanism
from emailrelay.secrets.trusted import TrustedNetwork, lies_in
from emailrelay.wildcards import fits


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderRule:
    """The senders that some users or networks can use; see ``[[allow]]`` in the settings."""

    users: tuple[str, ...]
    networks: tuple[TrustedNetwork, ...]
    senders: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTerms:
    """The conditions of this server for every client."""

    starttls: bool = False
    tls_required: bool = False
    login_required: bool = False
    possible: tuple[Mechanism, ...] = ()
    """The mechanisms that the secrets allow."""
    config: AuthConfig = field(default_factory=AuthConfig)
    senders: tuple[SenderRule, ...] = ()
    verifies: bool = False
    """An address verifier checks recipients, and answers VRFY."""
    asks_next: bool = False
    """The next server is asked about recipients."""
    lenient: tuple[TrustedNetwork, ...] = ()
    """The networks of devices that leave out the brackets of addresses."""


@dataclass(slots=True, kw_only=True)
class ClientStanding:
    """The facts known about one client."""

    address: str = ""
    """Its IP address, or the path of the socket it came by."""
    private: bool = False
    """The connection cannot be overheard: the client is on this machine."""
    trusted: str | None = None
    """The keyword of the trusted network it is in."""
    lenient: bool = False
    """It may leave out the brackets of addresses."""
    encrypted: bool = False
    tls: str = ""
    """The version of TLS on the connection; empty: none."""
    cipher: str = ""
    certificate: str = ""
    """PEM, verified."""
    user: str = ""
    """Its authenticated name."""
    mechanism: Mechanism | None = None
    failures: int = 0
    """Its failed logins."""


def mechanisms(terms: ClientTerms, standing: ClientStanding) -> tuple[Mechanism, ...]:
    """Return the mechanisms to offer: in clear, none unless the client is local or they are set."""
    if not standing.encrypted and not standing.private and terms.config.named is None:
        return ()
    return terms.config.choose(terms.possible, encrypted=standing.encrypted)


def would_help_to_encrypt(
    terms: ClientTerms, standing: ClientStanding, mechanism: Mechanism
) -> bool:
    """Return whether a mechanism would be offered if the connection were encrypted."""
    possible = terms.config.choose(terms.possible, encrypted=True)
    return terms.starttls and not standing.encrypted and mechanism in possible


def must_encrypt(terms: ClientTerms, standing: ClientStanding) -> bool:
    """Return whether a client must encrypt before anything else."""
    return terms.tls_required and not standing.encrypted


def must_log_in(terms: ClientTerms, standing: ClientStanding) -> bool:
    """Return whether a client must log in before it can send mail."""
    return terms.login_required and not standing.user and standing.trusted is None


def may_send_as(terms: ClientTerms, standing: ClientStanding, sender: Address) -> bool:
    """Return whether a client can use this sender; the first that matches the client applies."""
    if sender == NULL_SENDER:
        return True
    for rule in terms.senders:
        if _fits(rule, standing):
            return any(_matches(pattern, sender) for pattern in rule.senders)
    return True


def _fits(rule: SenderRule, standing: ClientStanding) -> bool:
    if standing.user:
        return standing.user in rule.users or "*" in rule.users
    return lies_in(standing.address, rule.networks)


def _matches(pattern: str, sender: Address) -> bool:
    # Local parts are compared without regard to case as well. RFC 5321 does not ask for it, but
    # administrators expect it.
    return fits(pattern.lower(), sender.lower())
