"""Logins with tokens of OAuth2."""

import pytest
from tests.fakes.secure_peer import SecurePeer
from tests.service.certificates import Authority
from tests.service.forwarder_sign_in.accounts import Tokens, signing_in
from tests.service.forwarding import sent, why

from emailrelay.errors import RelayError
from emailrelay.events.accounts import SignInRefused
from emailrelay.secrets import Secret
from emailrelay.settlement import Done
from emailrelay_forwarder.session.account import TokenAccount


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
