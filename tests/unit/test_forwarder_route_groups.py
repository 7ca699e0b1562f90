"""From routes to servers."""

from dataclasses import replace

import pytest
from tests.service.forwarding import Office

from emailrelay import routes
from emailrelay.envelope import Address, Envelope
from emailrelay.routes import RouteGroup
from emailrelay_forwarder.delivery.outgoing import Outgoing, as_it_is
from emailrelay_forwarder.delivery.route_groups import for_group
from emailrelay_forwarder.server.route_servers import servers
from emailrelay_forwarder.session.policy import Mode, Policy, Tls
from emailrelay_forwarder.session.route import NextServer, NoRoute

ANN, BOB, CAT = Address("ann@a.test"), Address("bob@b.test"), Address("cat@c.test")
ENVELOPE = Envelope(sender=Address("from@us.test"), to_local=(CAT,), to_remote=(ANN, BOB))
WAY = routes.Route(name="isp", smarthosts=("one.test:25", "/run/two"))


def test_servers_come_in_the_routes_order_with_its_account() -> None:
    assert servers(replace(WAY, account="me"), Policy()) == (
        NextServer("one.test", "25", account="me"),
        NextServer("/run/two", "", account="me"),
    )


def test_a_route_changes_only_what_it_says_of_the_policy() -> None:
    usual = Policy(tls=Tls(verify=True, authorities="/ca"), in_clear=True)

    (first, _) = servers(replace(WAY, tls="implicit"), usual)
    assert first.policy == replace(usual, tls=replace(usual.tls, mode=Mode.IMPLICIT))

    (first, _) = servers(replace(WAY, tls_verify=False), usual)
    assert first.policy == replace(usual, tls=replace(usual.tls, verify=False))


@pytest.mark.parametrize("word", ["off", "opportunistic", "required", "implicit"])
def test_every_word_for_encryption_means_something(word: str) -> None:
    (first, _) = servers(replace(WAY, tls=word), Policy())
    assert first.policy is not None
    assert first.policy.tls.mode is not None
    assert first.policy.tls.mode.value == word


def test_a_server_that_a_filter_misspelt_says_so() -> None:
    with pytest.raises(NoRoute, match="needs host and port"):
        servers(replace(WAY, smarthosts=("nonsense",)), Policy())


async def message() -> Outgoing:
    office = Office("unused.test:25")
    claim = await office.claim(await office.put(ANN, BOB))
    return as_it_is(claim)._replace(envelope=ENVELOPE)


async def test_a_message_for_one_route_goes_as_it_is() -> None:
    whole = await message()
    assert for_group(whole, RouteGroup(WAY, "", (ANN, BOB, CAT))) is whole


async def test_a_route_sees_its_own_recipients_and_sender() -> None:
    group = RouteGroup(replace(WAY, envelope_from="public.test"), "", (CAT, BOB))
    seen = for_group(await message(), group).envelope
    assert (seen.to_local, seen.to_remote) == ((CAT,), (BOB,))
    assert seen.sender == "from@public.test"
