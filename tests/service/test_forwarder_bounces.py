"""The forwarder as a process notifies the senders of failed mail: a spool and real connections."""

import asyncio
import email
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from email.message import Message
from pathlib import Path

import pytest
from tests.fakes.smtp_peer import SmtpPeer
from tests.service.forwarder_process import Running, forwarder, ids, put

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store

REFUSED = {b"nobody@there.test": "550 5.1.1 no such user"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path / "spool", report=lambda _event: None) as opened:
        yield opened


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def notice(peer: SmtpPeer, number: int = 0) -> Message:
    """Return a notice that the peer got; all mail of the null sender is one."""
    found = [m for m in peer.messages if m.sender == b""]
    return email.message_from_bytes(found[number].content)


async def told(running: Running, *messages: QueueId) -> None:
    """Wait until the senders of these messages have been told."""
    left = set(messages)
    while left:
        left.discard((await running.until("bounced"))["id"])


async def settled(store: Store, count: int) -> None:
    """Wait until only so many messages are left."""
    async with asyncio.timeout(30):
        while len(await ids(store)) != count:  # noqa: ASYNC110 -- files tell no event
            await asyncio.sleep(0.02)


async def test_sender_of_a_refused_message_is_told_at_once(store: Store, spool: Path) -> None:
    async with SmtpPeer(recipients=REFUSED) as peer, forwarder(spool, peer.address) as running:
        await running.until("started")
        message = await put(store, "nobody@there.test", "bob@there.test")
        await told(running, message)
        await settled(store, 1)  # the notice may be delivered before the log tells of it
        assert await running.stop() == 0
    assert "failed" in running.names()
    (told_to,) = [m.recipients for m in peer.messages if m.sender == b""]
    assert told_to == [b"from@us.test"]
    text = notice(peer).as_string()
    assert "Final-Recipient: rfc822; nobody@there.test" in text
    assert "bob@there.test" not in text
    assert await ids(store) == [message]


async def test_mail_that_failed_before_the_start_is_told_of(store: Store, spool: Path) -> None:
    failed = [await put(store) for _ in range(3)]
    for message in failed:
        assert await store.fail(message)
    async with SmtpPeer() as peer, forwarder(spool, peer.address, "--workers=2") as running:
        await told(running, *failed)
        await settled(store, 3)
        assert await running.stop() == 0
    assert len(peer.messages) == 3


async def test_flush_tells_of_mail_that_the_operator_has_failed(store: Store, spool: Path) -> None:
    async with SmtpPeer() as peer, forwarder(spool, peer.address) as running:
        await running.until("started")
        message = await put(store)
        await running.until("delivered")
        message = await put(store, stage=Stage.UNFILTERED)
        assert await store.fail(message)
        running.process.send_signal(signal.SIGUSR1)
        await told(running, message)
        assert await running.stop() == 0


async def test_single_pass_tells_senders_and_the_next_one_sends_the_notices(
    store: Store, spool: Path
) -> None:
    message = await put(store, "nobody@there.test")
    async with SmtpPeer(recipients=REFUSED) as peer:
        async with forwarder(spool, peer.address, "--once") as running:
            assert await running.end() == 1
        assert running.names()[-2:] == ["bounced", "stopped"]
        assert peer.messages == []
        async with forwarder(spool, peer.address, "--once") as running:
            assert await running.end() == 0
        assert len(peer.messages) == 1
    assert await ids(store) == [message]


async def test_notice_that_is_refused_is_kept_and_causes_no_other(
    store: Store, spool: Path
) -> None:
    async with (
        SmtpPeer({"RCPT": "550 5.1.1 no"}) as peer,
        forwarder(spool, peer.address) as running,
    ):
        await running.until("started")
        message = await put(store)
        await told(running, message)
        await running.until("not_bounced")
        assert await running.stop() == 0
    assert len(await ids(store, Stage.FAILED)) == 2
    assert running.names().count("bounced") == 1


async def test_postmaster_is_told_of_a_notice_that_fails(store: Store, spool: Path) -> None:
    refused = {b"nobody@there.test": "550 5.1.1 no", b"from@us.test": "550 5.1.1 no"}
    options = ("--postmaster", "admin@us.test")
    async with (
        SmtpPeer(recipients=refused) as peer,
        forwarder(spool, peer.address, *options) as running,
    ):
        await running.until("started")
        await told(running, await put(store, "nobody@there.test"))
        async with asyncio.timeout(30):
            while not peer.messages:  # noqa: ASYNC110 -- the log may tell of it earlier or later
                await asyncio.sleep(0.02)
        assert await running.stop() == 0
    assert [m.recipients for m in peer.messages] == [[b"admin@us.test"]]


async def test_notices_can_be_turned_off_and_on_again(store: Store, tmp_path: Path) -> None:
    spool, config = tmp_path / "spool", tmp_path / "relay.toml"
    config.write_text("bounces = false\n")
    message = await put(store)
    assert await store.fail(message)
    async with (
        SmtpPeer() as peer,
        forwarder(spool, peer.address, "--config", str(config)) as running,
    ):
        await running.until("started")
        other = await put(store)
        assert (await running.until("delivered"))["id"] == other
        assert await ids(store) == [message]
        config.write_text("bounces = true\n")
        running.process.send_signal(signal.SIGHUP)
        await told(running, message)
        assert await running.stop() == 0


async def test_failed_mail_is_removed_when_its_sender_knows(store: Store, spool: Path) -> None:
    async with SmtpPeer() as peer, forwarder(spool, peer.address, "--keep-failed=0.001") as running:
        await running.until("started")
        message = await put(store, stage=Stage.UNFILTERED)
        assert await store.fail(message)
        running.process.send_signal(signal.SIGUSR1)
        await told(running, message)
        running.process.send_signal(signal.SIGUSR1)
        assert (await running.until("failed_removed"))["id"] == message
        await settled(store, 0)
        assert await running.stop() == 0
    assert len(peer.messages) == 1


async def test_forwarders_and_notifiers_on_one_spool_tell_each_sender_once(
    store: Store, spool: Path
) -> None:
    failed = [await put(store, f"r{n}@there.test") for n in range(40)]
    for message in failed:
        assert await store.fail(message)
    notify = [sys.executable, "-m", "emailrelay.notify", "--relay", str(spool)]
    options = ("--bounces-per-hour=1000",)
    async with (
        SmtpPeer() as peer,
        forwarder(spool, peer.address, *options) as one,
        forwarder(spool, peer.address, *options, "--workers=2") as two,
    ):
        beside = await asyncio.create_subprocess_exec(*notify, stdout=DEVNULL)
        assert await beside.wait() == 0
        # Before the first notices, there are only so many messages, too.
        await peer.until(messages=40)
        await settled(store, 40)
        for each in (one, two):
            # The notifier may have told all before they hear signals.
            await each.until("started")
            assert await each.stop() == 0
    assert len(peer.messages) == 40
