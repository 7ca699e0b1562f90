"""The mechanism of a login: the strongest that both sides have, or the chosen one."""

from dataclasses import replace

import pytest
from tests.fakes.secure_peer import SecurePeer
from tests.service.certificates import Authority
from tests.service.forwarder_sign_in.accounts import ALL, PASSWORDS, by_password, leaks, signing_in
from tests.service.forwarding import PATIENT, Office, sent, why

from emailrelay.secrets import AuthConfig, ClientAccount, Form, Secret
from emailrelay.settlement import Defer, Done
from emailrelay_forwarder.session.account import Account, of_secrets
from emailrelay_forwarder.session.policy import Policy, Tls
from emailrelay_forwarder.session.route import NextServer


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
