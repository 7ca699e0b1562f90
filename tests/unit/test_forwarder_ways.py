"""From routes to servers, and from several schedules to one decision."""

from dataclasses import replace

import pytest
from tests.service.forwarding import Office

from emailrelay import routes
from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt, History
from emailrelay.reply import Reply
from emailrelay.routes import Leg
from emailrelay.schedule import Schedule
from emailrelay.settlement import Defer, Done, Fail
from emailrelay_forwarder.outgoing import Outgoing, as_it_is
from emailrelay_forwarder.policy import Mode, Policy, Tls
from emailrelay_forwarder.retry import after_legs
from emailrelay_forwarder.route import NoRoute, Route
from emailrelay_forwarder.ways import on_leg, servers

ANN, BOB, CAT = Address("ann@a.test"), Address("bob@b.test"), Address("cat@c.test")
ENVELOPE = Envelope(sender=Address("from@us.test"), to_local=(CAT,), to_remote=(ANN, BOB))
YES, LATER, NEVER = Reply(250, "yes"), Reply(451, "later"), Reply(550, "never")
SOON = Schedule(first=10, factor=1, longest=10, max_age=100, spread=0)
WAY = routes.Route(name="isp", smarthosts=("one.test:25", "/run/two"))
SLOW = Schedule(first=60, factor=1, longest=60, max_age=1000, spread=0)


def test_servers_come_in_the_routes_order_with_its_account() -> None:
    assert servers(replace(WAY, account="me"), Policy()) == (
        Route("one.test", "25", account="me"),
        Route("/run/two", "", account="me"),
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
    with pytest.raises(NoRoute, match="HOST:PORT"):
        servers(replace(WAY, smarthosts=("nonsense",)), Policy())


async def message() -> Outgoing:
    office = Office("unused.test:25")
    claim = await office.claim(await office.put(ANN, BOB))
    return replace(as_it_is(claim), envelope=ENVELOPE)


async def test_a_message_for_one_route_goes_as_it_is() -> None:
    whole = await message()
    assert on_leg(whole, Leg(WAY, "", (ANN, BOB, CAT))) is whole


async def test_a_route_sees_its_own_recipients_and_sender() -> None:
    leg = Leg(replace(WAY, envelope_from="public.test"), "", (CAT, BOB))
    seen = on_leg(await message(), leg).envelope
    assert (seen.to_local, seen.to_remote) == ((CAT,), (BOB,))
    assert seen.sender == "from@public.test"


def settled(
    replies: dict[Address, Reply], *, started: float = 0, at: float = 50
) -> Defer | Fail | Done:
    settlement = after_legs(
        ENVELOPE,
        History(accepted_at=started, started_at=started),
        Attempt(at=at, peer="p", replies=replies),
        schedules={ANN: SOON, BOB: SLOW},
        usual=SLOW,
        chance=0,
    )
    assert isinstance(settlement, Defer | Fail | Done)
    return settlement


def test_a_message_comes_again_when_the_first_of_its_routes_says_so() -> None:
    both = settled({ANN: LATER, BOB: LATER, CAT: YES})
    assert isinstance(both, Defer)
    assert both.attempt.next_attempt == 60

    slow = settled({ANN: YES, BOB: LATER, CAT: LATER})
    assert isinstance(slow, Defer)
    assert slow.attempt.next_attempt == 110


def test_a_recipient_is_given_up_when_its_own_time_is_over() -> None:
    first = settled({ANN: LATER, BOB: LATER, CAT: YES}, at=200)
    assert isinstance(first, Defer)
    assert first.attempt.next_attempt == 260
    given_up = first.attempt.replies[ANN]
    assert given_up.code == 554
    assert str(LATER) in given_up.text
    assert first.attempt.replies[BOB] == LATER


def test_a_message_fails_when_the_time_of_all_is_over() -> None:
    assert isinstance(settled({ANN: LATER, BOB: LATER, CAT: YES}, at=2000), Fail)
    assert isinstance(settled({}, at=2000), Fail)


def test_a_message_is_done_when_everybody_has_it() -> None:
    assert settled({ANN: YES, BOB: YES, CAT: YES}) == Done()
    assert isinstance(settled({ANN: YES, BOB: NEVER, CAT: YES}), Fail)
