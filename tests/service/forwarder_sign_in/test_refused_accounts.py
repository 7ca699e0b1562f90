"""Servers refuse an account, or it is missing: mail waits, and passwords are rarely tried."""

import asyncio
import socket
from base64 import b64encode
from dataclasses import replace

import pytest
from tests.fakes.secure_peer import SecurePeer
from tests.service.certificates import Authority
from tests.service.forwarder_sign_in.accounts import PASSWORD, by_password, signing_in
from tests.service.forwarding import PATIENT, Office, why

from emailrelay.errors import RelayError
from emailrelay.events.accounts import SignInRefused
from emailrelay.events.servers import SmarthostBack, SmarthostTrouble
from emailrelay.settlement import Defer, Done
from emailrelay_forwarder.server.breaker import FIRST_SIGN_IN, SPREAD, Breaker
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_error import not_signed_in


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


async def test_mended_account_is_called_back(authority: Authority) -> None:
    async with SecurePeer(authority.context(), offers=("AUTH PLAIN",)) as peer:
        office = Office(peer.address, signing_in(authority, by_password()))
        called_back = asyncio.Event()
        office.on_recovery = lambda _recall: called_back.set()
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
