"""Secrets go to no server in clear or unknown, and into no log."""

from base64 import b64encode
from dataclasses import replace

import pytest
from tests.fakes.secure_peer import SecurePeer
from tests.fakes.smtp_peer import Act, Say, SmtpPeer
from tests.service.certificates import Authority
from tests.service.forwarder_sign_in.accounts import (
    ALL,
    PASSWORD,
    PASSWORDS,
    Tokens,
    by_password,
    leaks,
    signing_in,
)
from tests.service.forwarding import PATIENT, Office, sent, why

from emailrelay.envelope_format import to_xtext
from emailrelay.settlement import Defer, Done
from emailrelay_forwarder.delivery.forwarding import Forwarding
from emailrelay_forwarder.session.account import Account
from emailrelay_forwarder.session.policy import Mode, Policy, Tls
from emailrelay_forwarder.session.route import NextServer

SIMPLE = "correct+horse=battery"


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
        office.forwarding = Forwarding(office.rules(), lambda _recall: None)
        message = await office.put()
        settlement = await office.forward(message)
        history = await office.history(message)
        await office.forwarding.close()
    seen = repr((settlement, history, office.told))
    assert len(peer.lines("AUTH")) == 1
    assert form not in seen
    assert SIMPLE not in seen
    assert "(secret)" in seen
