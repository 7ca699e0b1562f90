"""An envelope that a service can read but not write to: no delivery goes unrecorded."""

import os
from collections.abc import Generator

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import (
    BOB,
    LATER,
    OK,
    Clock,
    attempt,
    claimed,
    content_of,
    history_of,
    next_of,
    put,
    stages,
)

from emailrelay.errors import DamagedMessage
from emailrelay.events.store import Recovered, SetAside, StoreTrouble
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer
from emailrelay.stage import Stage
from emailrelay.store.spool.message.claiming import NotNow, take
from emailrelay.store.spool.message.spool import open_spool

SERVICE, OTHER = 65534, 12345
BODY = b"Subject: x\r\n\r\nbody\r\n"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


@pytest.fixture(autouse=True)
def as_a_service(spool: SpoolOpener) -> Generator[None]:
    """Become a user other than root, who owns the spool."""
    for directory in spool.directory.parents:
        if str(directory) != "/" and directory.stat().st_mode & 0o011 != 0o011:
            directory.chmod(directory.stat().st_mode | 0o055)
    spool.directory.mkdir()
    os.chown(spool.directory, SERVICE, SERVICE)
    os.setegid(SERVICE)
    os.seteuid(SERVICE)
    yield
    _as_root()


def _as_root() -> None:
    os.seteuid(0)
    os.setegid(0)


def _give_away(spool: SpoolOpener, message: QueueId) -> None:
    """Give an envelope that all users can read to another user."""
    path = spool.directory / f"emailrelay.{message}.envelope"
    _as_root()
    os.chown(path, OTHER, OTHER)
    path.chmod(0o644)
    os.setegid(SERVICE)
    os.seteuid(SERVICE)


def _fix_names(spool: SpoolOpener) -> None:
    """Let only the owner replace a file of the spool."""
    _as_root()
    os.chown(spool.directory, OTHER, SERVICE)
    spool.directory.chmod(0o1770)
    os.setegid(SERVICE)
    os.seteuid(SERVICE)


async def test_message_goes_on_with_an_envelope_of_ours(spool: SpoolOpener) -> None:
    clock = Clock()
    async with spool(clock) as store:
        message = await put(store, BODY)
        _give_away(spool, message)
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == BODY
            later = clock.now + 1
            await claim.settle(Defer(attempt(clock.now, next_attempt=later, ann=OK, bob=LATER)))
        clock.now += 2
        async with store.feed(Stage.READY) as feed, await next_of(feed) as claim:
            assert BOB in claim.history.pending(claim.envelope)
        told = [e for e in spool.reports if isinstance(e, Recovered | StoreTrouble)]
        assert [type(event) for event in told] == [Recovered]
        assert (await history_of(store, message)).attempts == 1


async def test_message_that_cannot_be_settled_is_told_once_and_never_claimed(
    spool: SpoolOpener,
) -> None:
    clock = Clock()
    async with spool(clock) as store:
        message = await put(store, BODY)
        _give_away(spool, message)
        _fix_names(spool)
        opened = open_spool(spool.directory, spool.reports.append, clock)
        waits: list[float] = []
        for _ in range(10):
            answer = take(opened, Stage.READY, message, due_only=True)
            assert isinstance(answer, NotNow)
            assert answer.due is not None
            waits.append(answer.due - clock.now)
            clock.now = answer.due
        opened.announcer.close()
        assert waits[0] < waits[3] < waits[-1] == pytest.approx(3600)
        assert len([e for e in spool.reports if isinstance(e, StoreTrouble)]) == 1
        assert await stages(store) == {message: Stage.READY}


async def test_damaged_envelope_that_may_only_be_read_is_set_aside_with_its_reason(
    spool: SpoolOpener,
) -> None:
    async with spool() as store:
        message = await put(store, BODY)
        (spool.directory / f"emailrelay.{message}.envelope").write_bytes(b"garbage\r\n")
        _give_away(spool, message)
        assert await store.claim(Stage.READY, message) is None
        assert await stages(store) == {message: Stage.FAILED}
        with pytest.raises(DamagedMessage):
            await store.describe(message)
        assert len([e for e in spool.reports if isinstance(e, SetAside)]) == 1
        kept = (spool.directory / f"emailrelay.{message}.envelope.bad").read_bytes()
        assert b"X-MailRelay-Reason: 5.6.0 damaged" in kept
