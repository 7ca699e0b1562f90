"""The bouncer tells each sender once, at a bounded pace, and removes failed mail after its time."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from tests.contract.mail import Clock, Opener, claimed, content_of, history_of, put, stages

from emailrelay.aliases import Aliases
from emailrelay.bounces.bouncer import Bouncer
from emailrelay.bounces.dsn import MOST_NAMED
from emailrelay.bounces.pace import HOUR
from emailrelay.bounces.telling import BounceRules
from emailrelay.dsn_request import DsnRequest, Notify, RecipientRequest
from emailrelay.envelope import Address, Envelope
from emailrelay.events.bounces import Bounced, BouncesHeldBack, FailedRemoved, NotBounced
from emailrelay.events.event import Event
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Fail
from emailrelay.stage import Stage
from emailrelay.store.base import Store

ANN, BOB = Address("ann@x.test"), Address("bob@y.test")
ADMIN = Address("admin@x.test")
NOBODY = Reply(550, "5.1.1 nobody")
DAY = 86400.0


def rules(
    *,
    tells: bool = True,
    postmaster: tuple[Address, ...] = (),
    per_hour: int = 3,
    keep: float | None = 30 * DAY,
) -> BounceRules:
    return BounceRules(
        tells=tells,
        host="relay.test",
        postmaster=postmaster,
        aliases=Aliases.of({"root": [ADMIN]}, "relay.test"),
        per_hour=per_hour,
        keep=keep,
    )


@dataclass
class Office:
    """A store with a bouncer, and a clock for both."""

    store: Store
    clock: Clock
    rules: BounceRules = field(default_factory=rules)
    reports: list[Event] = field(default_factory=list[Event])
    bouncer: Bouncer = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin with nothing but the store, as another process does."""
        self.bouncer = Bouncer(self.store, self.rules, report=self.reports.append, clock=self.clock)

    def of(self, *kinds: type[Event]) -> list[Event]:
        return [event for event in self.reports if isinstance(event, kinds)]

    async def notices(self) -> list[tuple[tuple[Address, ...], str]]:
        """Take the notices out of the store: the recipients and the text of each."""
        found: list[tuple[tuple[Address, ...], str]] = []
        for message, stage in sorted((await stages(self.store)).items()):
            if stage is Stage.READY:
                async with await claimed(self.store, message) as claim:
                    assert claim.envelope.sender == ""
                    text = (await content_of(claim)).decode()
                    found.append((claim.envelope.recipients, text))
                await self.store.delete(message)
        return found


async def fail(
    store: Store, sender: Address = ANN, *recipients: Address, dsn: DsnRequest | None = None
) -> QueueId:
    envelope = Envelope(sender=sender, to_remote=recipients or (BOB,))
    if dsn is None:
        message = await put(store, envelope=envelope)
    else:
        async with store.draft(envelope) as draft:
            await draft.commit(Stage.READY, dsn=dsn)
        message = draft.id
    async with await claimed(store, message) as claim:
        await claim.settle(Fail(NOBODY))
    return message


async def fail_all(store: Store, count: int, sender: Address = ANN) -> list[QueueId]:
    return [await fail(store, sender) for _ in range(count)]


async def is_told(store: Store, messages: Sequence[QueueId]) -> list[bool]:
    return [(await history_of(store, message)).notified for message in messages]


async def test_sender_is_told_once_over_rounds_and_restarts(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        office = Office(store, clock)
        message = await fail(store)
        await office.bouncer.round()
        ((to, text),) = await office.notices()
        assert to == (ANN,)
        assert "<bob@y.test>" in text
        assert [type(event) for event in office.reports] == [Bounced]
        await office.bouncer.round()
        await office.bouncer.hear((message,))
        office.restart()
        await office.bouncer.round()
        assert await office.notices() == []


async def test_message_that_fails_again_after_a_retry_is_told_of_again(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        office = Office(store, clock)
        message = await fail(store)
        await office.bouncer.round()
        await office.bouncer.round()
        assert len(await office.notices()) == 1
        clock.now += 1
        await store.retry(message)
        async with await claimed(store, message) as claim:
            await claim.settle(Fail(NOBODY))
        await office.bouncer.round()
        assert len(await office.notices()) == 1


async def test_storm_ends_in_one_notice_about_the_rest(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        office = Office(store, clock)
        storm = await fail_all(store, 20)
        other = await fail(store, Address("cat@z.test"))
        await office.bouncer.round()
        assert [to for to, _ in await office.notices()] == [(ANN,)] * 3 + [("cat@z.test",)]
        told = await is_told(store, storm)
        assert told.count(True) == 3
        assert await is_told(store, [other]) == [True]
        (slowed,) = office.of(BouncesHeldBack)
        assert office.bouncer.next_due() == getattr(slowed, "again", None)
        clock.now += HOUR - 1
        await office.bouncer.round()
        assert await office.notices() == []
        clock.now += 2
        await office.bouncer.hear(())
        ((to, text),) = await office.notices()
        assert to == (ANN,)
        assert "17 messages could not be delivered" in text
        assert text.count("Final-Recipient: rfc822; bob@y.test") == 17
        named = [f"Message {message} of " in text for message in storm]
        assert named == [not before for before in told]
        assert all(await is_told(store, storm))
        assert office.bouncer.next_due() is None
        await office.bouncer.round()
        assert await office.notices() == []


async def test_pace_lasts_over_a_restart(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        office = Office(store, clock)
        await fail_all(store, 5)
        await office.bouncer.round()
        assert len(await office.notices()) == 3
        office.restart()
        await office.bouncer.round()
        assert await office.notices() == []
        clock.now += HOUR
        await office.bouncer.round()
        assert len(await office.notices()) == 1
        office.restart()
        await fail_all(store, 5)
        await office.bouncer.round()
        assert len(await office.notices()) == 2, "the shared notice counts as one"


async def test_notice_that_fails_is_left_and_told_to_the_postmaster_alone(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        office = Office(store, clock)
        bounce = await fail(store, Address(""), ANN)
        await office.bouncer.round()
        assert await office.notices() == []
        assert [type(event) for event in office.reports] == [NotBounced]
        office.rules = rules(postmaster=(ADMIN,))
        office.restart()
        other, own = await fail(store, Address(""), ANN), await fail(store, Address(""), ADMIN)
        await office.bouncer.round()
        assert [to for to, _ in await office.notices()] == [(ADMIN,)]
        clock.now += 31 * DAY
        await office.bouncer.round()
        left = await stages(store)
        assert bounce in left, "no one was told"
        assert own in left, "no one was told"
        assert other not in left, "the postmaster was told"


async def test_notice_about_a_notice_that_fails_is_told_to_no_one(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        office = Office(store, clock, rules(postmaster=(ADMIN,)))
        first = await fail(store)
        for expected in ((ANN,), (ADMIN,)):
            await office.bouncer.round()
            (notice,) = [m for m, stage in (await stages(store)).items() if stage is Stage.READY]
            async with await claimed(store, notice) as claim:
                assert claim.envelope.recipients == expected
                await claim.settle(Fail(NOBODY))
        # As if a filter had changed its recipients: they are not those of the setting.
        office.rules = rules(postmaster=(Address("another@x.test"),))
        office.restart()
        await office.bouncer.round()
        assert await office.notices() == []
        assert first in await stages(store)
        (left,) = office.of(NotBounced)
        assert "a notice about a notice" in str(left)


async def test_other_ways_to_write_an_address_get_no_notices_of_their_own(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        office = Office(store, clock)
        senders = [
            Address(f"{name}@{domain}")
            for name in ("Ann", "ann+1")
            for domain in ("x.test", "X.TEST")
        ]
        storm: list[QueueId] = []
        for sender in (sender for sender in senders for _ in range(3)):
            storm.append(await fail(store, sender))
            clock.now += 1
        await office.bouncer.round()
        assert len(await office.notices()) == 3
        assert len(office.of(BouncesHeldBack)) == 1
        clock.now += HOUR
        await office.bouncer.round()
        ((to, text),) = await office.notices()
        assert to == (senders[1],), "the sender of the oldest message"
        assert "9 messages could not be delivered" in text
        assert all(await is_told(store, storm))


async def test_sender_that_wants_no_notice_gets_none(opener: Opener) -> None:
    clock = Clock()
    never = DsnRequest(recipients={BOB: RecipientRequest((Notify.NEVER,))})
    async with opener(clock) as store:
        office = Office(store, clock)
        message = await fail(store, dsn=never)
        await office.bouncer.round()
        assert await office.notices() == []
        assert await is_told(store, [message]) == [True]


async def test_local_sender_is_told_by_its_alias_and_waits_without_one(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        office = Office(store, clock)
        await fail(store, Address("root"))
        await fail(store, Address("root@relay.test"))
        lonely = await fail(store, Address("www-data@localhost"))
        await office.bouncer.round()
        assert [to for to, _ in await office.notices()] == [(ADMIN,)] * 2
        assert await is_told(store, [lonely]) == [False]
        await office.bouncer.round()
        assert len(office.of(NotBounced)) == 1


async def test_failed_mail_goes_after_its_time_if_its_sender_was_told(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        office = Office(store, clock)
        told, untold = await fail(store), await fail(store, Address(""))
        await office.bouncer.round()
        await office.notices()
        clock.now += 30 * DAY - 1
        await office.bouncer.round()
        assert set(await stages(store)) == {told, untold}
        clock.now += 2
        await office.bouncer.round()
        assert set(await stages(store)) == {untold}
        assert office.of(FailedRemoved) == [FailedRemoved(id=told)]


async def test_failed_mail_stays_for_ever_without_a_time(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        office = Office(store, clock, rules(keep=None))
        told = await fail(store)
        await office.bouncer.round()
        await office.notices()
        clock.now += 1000 * DAY
        await office.bouncer.round()
        assert set(await stages(store)) == {told}


async def test_without_bounces_told_mail_is_removed_all_the_same(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        office = Office(store, clock, rules(tells=False))
        message, other = await fail(store), await fail(store)
        failure = await store.failure(message)
        assert failure is not None
        async with failure:
            await failure.record(told=True)
        await office.bouncer.round()
        assert await office.notices() == []
        clock.now += 31 * DAY
        await office.bouncer.round()
        assert set(await stages(store)) == {other}


async def test_message_that_another_process_tells_of_is_left_to_it(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store, opener(clock) as other, AsyncExitStack() as held:
        office = Office(store, clock)
        first, second = await fail_all(store, 2)
        failure = await other.failure(first)
        assert failure is not None
        await held.enter_async_context(failure)
        await office.bouncer.round()
        assert len(await office.notices()) == 1
        assert await is_told(store, [second]) == [True]
        await held.aclose()
        await office.bouncer.round()
        assert len(await office.notices()) == 1


async def test_many_recipients_are_told_of_in_several_notices(opener: Opener) -> None:
    clock = Clock()
    many = [Address(f"{number}@y.test") for number in range(MOST_NAMED)]
    async with opener(clock) as store:
        office = Office(store, clock, rules(per_hour=0))
        messages = [await fail(store, ANN, *many), await fail(store, ANN, *many)]
        messages += await fail_all(store, 2)
        clock.now += HOUR
        for told in ([True, False, False, False], [True, True, False, False], [True] * 4):
            await office.bouncer.round()
            assert await is_told(store, messages) == told
        assert len(await office.notices()) == 3
