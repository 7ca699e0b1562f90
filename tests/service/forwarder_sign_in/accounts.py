"""Accounts at servers with and without encryption, and a message to send."""

from base64 import b64encode
from dataclasses import dataclass, field, replace

from tests.service.certificates import Authority
from tests.service.forwarding import PATIENT

from emailrelay.secrets import ClientAccount, Form, Secret
from emailrelay_forwarder.session.account import Account, TokenAccount, of_secrets
from emailrelay_forwarder.session.policy import Policy, Tls
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_settings import SessionSettings

PASSWORD = "päss word\x7f=+"  # noqa: S105 -- of a server that is in these tests only
PASSWORDS = {"alice": PASSWORD}
ALL = ("AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2 OAUTHBEARER",)


def by_password(password: str = PASSWORD) -> Account:
    secret = Secret(password)
    return of_secrets(ClientAccount(selector="", form=Form.PLAIN, id="alice", secret=secret))


def signing_in(
    authority: Authority, account: Account, policy: Policy | None = None
) -> SessionSettings:
    trusting = Policy(tls=Tls(authorities=authority.path))

    def the_one(_selector: str, _server: NextServer) -> Account:
        return account

    return replace(PATIENT, policy=policy or trusting, accounts=the_one)


def leaks(octets: bytes) -> bool:
    """Tell whether there is a password, a token, or an AUTH command in these octets."""
    secrets = [PASSWORD.encode(), b64encode(PASSWORD.encode()), b64encode(b"alice"), b"token"]
    return b"AUTH" in octets or any(secret in octets for secret in secrets)


@dataclass
class Tokens:
    """Gives tokens in turn, the next one for each renewal; notes how it was asked."""

    given: list[str]
    asked: list[bool] = field(default_factory=list[bool])

    def account(self) -> TokenAccount:
        return TokenAccount("alice", self.token)

    async def token(self, *, renew: bool) -> Secret:
        self.asked.append(renew)
        return Secret(self.given[min(sum(self.asked), len(self.given) - 1)])
