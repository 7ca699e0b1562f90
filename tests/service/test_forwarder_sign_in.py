"""Logging in at servers: which mechanism, never in clear, and never a storm of passwords."""

import asyncio
import socket
from base64 import b64encode
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.fakes.secure_peer import SecurePeer
from tests.fakes.smtp_peer import Act, Say, SmtpPeer
from tests.service.certificates import Authority
from tests.service.forwarding import PATIENT, Office

from emailrelay.envelope_format import to_xtext
from emailrelay.errors import RelayError
from emailrelay.events import SignInRefused, SmarthostBack, SmarthostTrouble
from emailrelay.secrets import AuthConfig, ClientAccount, Form, Secret
from emailrelay.settlement import Defer, Done, Settlement
from emailrelay_forwarder.delivery.forwarding import Forwarding
from emailrelay_forwarder.server.breaker import FIRST_SIGN_IN, SPREAD, Breaker
from emailrelay_forwarder.session.account import Account, TokenAccount, of_secrets
from emailrelay_forwarder.session.policy import Mode, Policy, Tls
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_error import not_signed_in
from emailrelay_forwarder.session.session_settings import SessionSettings

PASSWORD = "päss word\x7f=+"  # noqa: S105 -- of a server that is in these tests only
SIMPLE = "correct+horse=battery"
PASSWORDS = {"alice": PASSWORD}
ALL = ("AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2 OAUTHBEARER",)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


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


async def sent(peer: SecurePeer, settings: SessionSettings) -> tuple[Settlement, Office]:
    office = Office(peer.address, settings)
    settlement = await office.send()
    await office.forwarding.close()
    return settlement, office


def why(settlement: Settlement) -> str:
    assert isinstance(settlement, Defer)
    return str(settlement.attempt.trouble)


def leaks(octets: bytes) -> bool:
    """Tell whether there is a password, a token, or an AUTH command in these octets."""
    secrets = [PASSWORD.encode(), b64encode(PASSWORD.encode()), b64encode(b"alice"), b"token"]
    return b"AUTH" in octets or any(secret in octets for secret in secrets)


@pytest.mark.parametrize(
    ("offered", "used"),
    [
        ("AUTH PLAIN LOGIN CRAM-MD5", "CRAM-MD5"),
        ("AUTH LOGIN PLAIN", "PLAIN"),
        ("AUTH LOGIN", "LOGIN"),
        ("AUTH=LOGIN PLAIN", "PLAIN"),
        ("auth login X-OWN", "LOGIN"),
        ("AUTH LOGIN PLAIN\nAUTH=LOGIN", "PLAIN"),
        ("AUTH=LOGIN\nAUTH CRAM-MD5", "CRAM-MD5"),
    ],
)
async def test_strongest_common_mechanism_is_used(
    authority: Authority, offered: str, used: str
) -> None:
    offers = tuple(offered.split("\n"))
    async with SecurePeer(authority.context(), offers=offers, passwords=PASSWORDS) as peer:
        settlement, _ = await sent(peer, signing_in(authority, by_password()))
    assert isinstance(settlement, Done)
    assert peer.signed_in == [("alice", used)]
    assert not leaks(bytes(peer.clear))


@pytest.mark.parametrize("password", ["Password", "name", "Username:", "=", "535"])
async def test_weak_password_that_stands_in_a_prompt_signs_in(
    authority: Authority, password: str
) -> None:
    offers, passwords = ("AUTH LOGIN",), {"alice": password}
    async with SecurePeer(authority.context(), offers=offers, passwords=passwords) as peer:
        settlement, _ = await sent(peer, signing_in(authority, by_password(password)))
    assert isinstance(settlement, Done)


async def test_mechanisms_can_be_chosen(authority: Authority) -> None:
    policy = Policy(
        tls=Tls(authorities=authority.path), auth=AuthConfig.parse("m:login,plain;x:login")
    )
    async with SecurePeer(authority.context(), offers=ALL, passwords=PASSWORDS) as peer:
        await sent(peer, signing_in(authority, by_password(), policy))
    assert peer.signed_in == [("alice", "PLAIN")]


async def test_hashed_secret_serves_cram_md5_only(authority: Authority) -> None:
    hashed = "hZP1qhm0I66FKDCLzBQ7YxJSRuX6tuUIZDPCFTAGJqA="
    account = of_secrets(
        ClientAccount(selector="", form=Form.MD5, id="alice", secret=Secret(hashed))
    )
    async with SecurePeer(authority.context(), offers=("AUTH PLAIN",)) as peer:
        settlement, _ = await sent(peer, signing_in(authority, account))
    assert "the server offers PLAIN; we have CRAM-MD5" in why(settlement)
    assert peer.contents == []


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("length", [20, 2000])
async def test_token_signs_in(authority: Authority, mechanism: str, length: int) -> None:
    tokens = Tokens(["token" + "x" * length])
    offers = (f"AUTH PLAIN {mechanism}",)
    async with SecurePeer(
        authority.context(), offers=offers, tokens=set(tokens.given), room=1 << 18
    ) as peer:
        settlement, _ = await sent(peer, signing_in(authority, tokens.account()))
    assert isinstance(settlement, Done)
    assert peer.signed_in == [("alice", mechanism)]
    assert max(len(line) for line in peer.lines if line.startswith("AUTH")) <= 510


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


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_refused_token_is_renewed_once(authority: Authority, mechanism: str) -> None:
    tokens = Tokens(["token-old", "token-new"])
    async with SecurePeer(
        authority.context(), offers=(f"AUTH {mechanism}",), tokens={"token-new"}
    ) as peer:
        settlement, _ = await sent(peer, signing_in(authority, tokens.account()))
    assert isinstance(settlement, Done)
    assert tokens.asked == [False, True]
    assert peer.verbs().count("AUTH") == 2


async def test_token_refused_again_defers(authority: Authority) -> None:
    tokens = Tokens(["token-1", "token-2", "token-3"])
    async with SecurePeer(authority.context(), offers=("AUTH XOAUTH2",)) as peer:
        settlement, office = await sent(peer, signing_in(authority, tokens.account()))
    assert "535 5.7.8 not you" in why(settlement)
    assert tokens.asked == [False, True]
    assert peer.verbs().count("AUTH") == 2
    assert len(office.events(SignInRefused)) == 1


async def test_token_that_cannot_be_had_defers(authority: Authority) -> None:
    async def none(*, renew: bool) -> Secret:
        raise RelayError(f"the provider is away ({renew})")

    async with SecurePeer(authority.context(), offers=("AUTH XOAUTH2",)) as peer:
        settlement, _ = await sent(peer, signing_in(authority, TokenAccount("alice", none)))
    assert "no token for alice: the provider is away" in why(settlement)
    assert peer.contents == []


@pytest.mark.parametrize(
    "tls",
    [
        Tls(),
        Tls(mode=Mode.OPPORTUNISTIC),
        Tls(mode=Mode.REQUIRED),
        Tls(mode=Mode.OFF),
        Tls(verify=False),
    ],
)
@pytest.mark.parametrize("account", [by_password(), Tokens(["token"]).account()])
async def test_nothing_secret_goes_in_clear(
    authority: Authority, tls: Tls, account: Account
) -> None:
    async with SecurePeer(offers=ALL, passwords=PASSWORDS, tokens={"token"}) as peer:
        settlement, _ = await sent(peer, signing_in(authority, account, Policy(tls=tls)))
    assert isinstance(settlement, Defer)
    assert bytes(peer.clear) == b"EHLO us.test\r\n"


async def test_nothing_secret_goes_to_a_server_that_proves_nothing(authority: Authority) -> None:
    for policy in (Policy(), Policy(tls=Tls(mode=Mode.IMPLICIT))):
        implicit = policy.tls.mode is Mode.IMPLICIT
        async with SecurePeer(
            authority.context(), implicit=implicit, offers=ALL, passwords=PASSWORDS
        ) as peer:
            settlement, _ = await sent(peer, signing_in(authority, by_password(), policy))
        assert "cannot be trusted" in why(settlement)
        assert "AUTH" not in peer.verbs()
        assert not leaks(bytes(peer.clear))


async def test_unverified_server_gets_the_password_only_if_that_is_allowed(
    authority: Authority,
) -> None:
    async with SecurePeer(authority.context(), offers=ALL, passwords=PASSWORDS) as peer:
        allowed = Policy(tls=Tls(verify=False))
        settlement, _ = await sent(peer, signing_in(authority, by_password(), allowed))
    assert isinstance(settlement, Done)
    assert not leaks(bytes(peer.clear))


async def test_password_goes_in_clear_only_if_that_is_allowed(authority: Authority) -> None:
    async with SecurePeer(offers=("AUTH PLAIN",), passwords=PASSWORDS) as peer:
        allowed = Policy(in_clear=True)
        settlement, _ = await sent(peer, signing_in(authority, by_password(), allowed))
    assert isinstance(settlement, Done)
    assert leaks(bytes(peer.clear))


async def test_mechanisms_offered_in_clear_count_no_more_under_tls(authority: Authority) -> None:
    async with SecurePeer(
        authority.context(), offers=("8BITMIME",), offers_in_clear=("STARTTLS", *ALL)
    ) as peer:
        settlement, _ = await sent(peer, signing_in(authority, by_password()))
    assert "no common way to sign in as alice: the server offers none" in why(settlement)
    assert "AUTH" not in peer.verbs()


@pytest.mark.parametrize(
    "reply",
    [
        "535 5.7.8 bad credentials",
        "454 4.7.0 later",
        "534 5.7.9 application password needed",
        "504 5.5.4 no such mechanism",
        "421 4.7.0 going",
        "250 what",
        "334 nonsense!",
        "334 " + b64encode(b"more?").decode() + "\r\n334 YQ==",
    ],
)
async def test_refused_account_defers_pauses_and_is_told_once(
    authority: Authority, reply: str
) -> None:
    async with SecurePeer(
        authority.context(), offers=("AUTH PLAIN",), auth_replies={"PLAIN": reply}
    ) as peer:
        office = Office(peer.address, signing_in(authority, by_password()))
        messages = [await office.put() for _ in range(20)]
        for message in messages:
            assert isinstance(await office.forward(message), Defer)
        await office.forwarding.close()
    assert peer.contents == []
    assert peer.verbs().count("AUTH") == 1
    assert peer.connections == 1
    assert len(office.events(SignInRefused)) == 1
    assert office.events(SmarthostTrouble) == []


async def test_only_an_unknown_mechanism_is_followed_by_another(authority: Authority) -> None:
    async with SecurePeer(
        authority.context(),
        offers=("AUTH PLAIN CRAM-MD5",),
        passwords=PASSWORDS,
        auth_replies={"CRAM-MD5": "504 5.5.4 not that"},
    ) as peer:
        settlement, _ = await sent(peer, signing_in(authority, by_password()))
    assert isinstance(settlement, Done)
    async with SecurePeer(authority.context(), offers=ALL, passwords=PASSWORDS) as peer:
        settlement, _ = await sent(peer, signing_in(authority, by_password("wrong")))
    assert isinstance(settlement, Defer)
    assert peer.verbs().count("AUTH") == 1


async def test_mended_account_is_called_back(authority: Authority) -> None:
    async with SecurePeer(authority.context(), offers=("AUTH PLAIN",)) as peer:
        office = Office(peer.address, signing_in(authority, by_password()))
        called_back = asyncio.Event()
        office.on_recovery = called_back.set
        assert isinstance(await office.send(), Defer)
        peer.passwords["alice"] = PASSWORD
        office.forwarding.try_now()
        async with asyncio.timeout(60):
            await called_back.wait()
        assert isinstance(await office.send(), Done)
        await office.forwarding.close()
    assert len(office.events(SmarthostBack)) == 1


def test_refused_password_is_tried_seldom() -> None:
    breaker = Breaker()
    refused = not_signed_in("no")
    pauses = [breaker.failed(refused, chance=0.999) for _ in range(10)]
    assert pauses[0] >= FIRST_SIGN_IN * (1 - SPREAD)
    assert sum(pauses[:6]) > 1800
    assert max(pauses) <= 3600


async def test_refused_password_is_not_tried_at_the_next_address(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        SecurePeer(authority.context("two.test"), offers=("AUTH PLAIN",)) as first,
        SecurePeer(authority.context("two.test"), offers=("AUTH PLAIN",)) as second,
    ):
        real = socket.getaddrinfo

        def both(host: str, *args: object, **kwargs: object) -> object:
            if host != "two.test":
                return real(host, *args, **kwargs)  # type: ignore[arg-type] # as they came
            if kwargs["flags"]:
                raise socket.gaierror(socket.EAI_NONAME, "not numeric")
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, ("127.0.0.1", peer.port)) for peer in (first, second)]

        monkeypatch.setattr(socket, "getaddrinfo", both)
        office = Office("two.test:587", signing_in(authority, by_password()))
        assert isinstance(await office.send(), Defer)
        await office.forwarding.close()
    assert (first.connections, second.connections) == (1, 0)


async def test_server_that_repeats_our_words_does_not_bring_them_into_the_log(
    authority: Authority,
) -> None:
    for offered in ("AUTH PLAIN", "AUTH LOGIN"):
        async with SecurePeer(authority.context(), offers=(offered,), echoes=True) as peer:
            settlement, office = await sent(peer, signing_in(authority, by_password()))
        told = why(settlement) + repr(office.told)
        assert "(secret)" in told
        assert not any(line in told for line in peer.lines if len(line) > 20)
        assert b64encode(PASSWORD.encode()).decode() not in told


FORMS = [
    SIMPLE,
    to_xtext(SIMPLE),
    b64encode(SIMPLE.encode()).decode(),
    b64encode(f"\0alice\0{SIMPLE}".encode()).decode(),
    b64encode(f"alice {SIMPLE}\r\n".encode()).decode(),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("step", ["AUTH", "garbled", "MAIL", "RCPT", "DOT", "421", "out of turn"])
async def test_password_that_a_server_repeats_is_shown_nowhere(step: str, form: str) -> None:
    where: dict[str, tuple[str, Act]] = {
        "AUTH": ("AUTH", f"535 5.7.8 no, not {form}"),
        "garbled": ("AUTH", Say(f"{form}\r\n".encode())),
        "421": ("MAIL", Say(f"421 bye {form}\r\n".encode(), then_close=True)),
        "out of turn": ("MAIL", Say(f"250 ok\r\n550 {form}\r\n".encode())),
    }
    at, act = where.get(step, (step, f"550 5.7.1 no, not {form}"))
    script: dict[str, Act] = {"EHLO": "250-p\r\n250 AUTH PLAIN", "AUTH": "235 in", at: act}

    def the_one(_selector: str, _server: NextServer) -> Account:
        return by_password(SIMPLE)

    async with SmtpPeer(script) as peer:
        office = Office(peer.address)
        office.settings = replace(
            PATIENT,
            policy=Policy(in_clear=True),
            accounts=the_one,
            dialogue=office.told.append,
        )
        office.forwarding = Forwarding(office.rules(), lambda: None)
        message = await office.put()
        settlement = await office.forward(message)
        history = await office.history(message)
        await office.forwarding.close()
    seen = repr((settlement, history, office.told))
    assert len(peer.lines("AUTH")) == 1
    assert form not in seen
    assert SIMPLE not in seen
    assert "(secret)" in seen


async def test_envelope_chooses_the_account(authority: Authority) -> None:
    accounts: dict[str, Account | None] = {
        "": by_password(),
        "second": of_secrets(
            ClientAccount(selector="second", form=Form.PLAIN, id="bob", secret=Secret("b"))
        ),
        "nobody": None,
    }

    def chosen(selector: str, _server: NextServer) -> Account | None:
        return accounts[selector]

    settings = replace(
        PATIENT,
        policy=Policy(tls=Tls(authorities=authority.path)),
        accounts=chosen,
    )
    async with SecurePeer(
        authority.context(), offers=("AUTH PLAIN",), passwords={**PASSWORDS, "bob": "b"}
    ) as peer:
        office = Office(peer.address, settings)
        for selector in ("", "second", "nobody", "second"):
            message = await office.put(account_selector=selector)
            assert isinstance(await office.forward(message), Done)
        await office.forwarding.close()
    assert peer.signed_in == [("alice", "PLAIN"), ("bob", "PLAIN")]
    assert peer.connections == 3
    assert len(peer.contents) == 4


async def test_account_that_is_not_there_defers_and_other_mail_goes_on(
    authority: Authority,
) -> None:
    def accounts(selector: str, _server: NextServer) -> None:
        if selector:
            raise RelayError(f"there is no {selector}")

    async with SecurePeer(authority.context()) as peer:
        office = Office(peer.address, replace(PATIENT, accounts=accounts))
        lost = await office.forward(await office.put(account_selector="lost"))
        assert "there is no lost" in why(lost)
        assert isinstance(await office.send(), Done)
        await office.forwarding.close()
