"""Several processes on one spool: no crash, lost event or flood loses or doubles mail."""

import asyncio
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack

import pytest
from tests.contract.claimers import LONG, Claimer, claimer
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import (
    ENVELOPE,
    can_claim,
    claimed,
    content_of,
    history_of,
    listed,
    next_of,
    put,
)
from tests.faults.extent import extent

from emailrelay import envelope_format
from emailrelay.events.store import PossibleDuplicate, Recovered
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.feed import Feed

NO_WATCHES = 'echo 0 > /proc/sys/user/max_inotify_watches && exec "$0" "$@"'


def drop(spool: SpoolOpener, number: int) -> QueueId:
    """Put a message in without an announcement, as another program does."""
    name = f"emailrelay.1700000000.1.{number}"
    (spool.directory / f"{name}.content").write_bytes(b"x\r\n")
    scratch = spool.directory / f"{name}.envelope.new"
    scratch.write_bytes(envelope_format.write(ENVELOPE))
    scratch.rename(spool.directory / f"{name}.envelope")
    return QueueId(name.removeprefix("emailrelay."))


async def test_message_of_a_killed_claimer_is_free_at_once(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = await put(store, b"still here")
        async with claimer(spool, "hold") as victim:
            assert await victim.line() == message
            assert not await can_claim(store, message)
            victim.process.kill()
            await victim.process.wait()
            async with await claimed(store, message) as claim:
                assert await content_of(claim) == b"still here"


AT_THE_DOT = """
import asyncio, sys
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store

async def main():
    async with open_store(sys.argv[1], report=print) as store:
        claims = [await store.claim(Stage.READY, message) for message in sys.argv[2:]]
        for claim in claims:
            assert await claim.before_dot('smarthost.test:25')
        print('there', flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


IN_REMOVAL = """
import asyncio, sys, time
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay.store.spool.disk import files

take_away = files.take_away

def stopping(path):
    if path.name.endswith(sys.argv[3]):
        print('there', flush=True)
        time.sleep(1000)
    take_away(path)

async def main():
    async with open_store(sys.argv[1], report=print) as store:
        claim = await store.claim(Stage.READY, sys.argv[2])
        assert await claim.before_dot('smarthost.test:25')
        files.take_away = stopping
        await claim.settle(Done())

asyncio.run(main())
"""


async def kill_at_the_dot(spool: SpoolOpener, *messages: QueueId) -> None:
    """Leave these messages as a forwarder does that is killed at their final dots."""
    await _kill_in(AT_THE_DOT, spool, *messages)


async def _kill_in(script: str, spool: SpoolOpener, *arguments: str) -> None:
    """Kill it when it prints that it is ready."""
    command = (sys.executable, "-c", script, str(spool.directory), *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"there\n"
    process.kill()
    await process.communicate()


def doubted(spool: SpoolOpener) -> list[PossibleDuplicate]:
    return [event for event in spool.reports if isinstance(event, PossibleDuplicate)]


async def test_message_in_doubt_is_named_when_its_forwarder_was_killed(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = await put(store)
        await kill_at_the_dot(spool, message)
    async with spool() as later:
        assert doubted(spool) == [PossibleDuplicate(id=message, peer="smarthost.test:25")]
        assert (await history_of(later, message)).doubts == ("smarthost.test:25",)
    async with spool():
        assert len(doubted(spool)) == 1


async def test_message_in_doubt_is_named_though_another_process_sends_it_already(
    spool: SpoolOpener,
) -> None:
    async with spool() as store:
        message, sent = await put(store), await put(store)
        await kill_at_the_dot(spool, message, sent)
        # Before any process has recovered the remains of the dead one.
        await (await claimed(store, sent)).settle(Done())
        async with await claimed(store, message), spool():
            assert {event.id for event in doubted(spool)} == {message, sent}


async def test_message_that_was_removed_is_in_doubt_no_more(synced_spool: SpoolOpener) -> None:
    async with synced_spool() as store:
        message = await put(store)
        claim = await claimed(store, message)
        assert await claim.before_dot("smarthost.test:25")
        settling = asyncio.create_task(claim.settle(Done()))
        for _ in range(2):
            await asyncio.sleep(0)
        assert not await listed(store)
        # Killed now, while the removal is being synced, it would not be sent twice.
        (sheet,) = (synced_spool.directory / ".doubt").glob("[0-9]*")
        assert message.encode() not in sheet.read_bytes()
        await settling


@pytest.mark.parametrize("name", [".envelope", ".content"])
async def test_removal_that_a_kill_broke_off_is_finished_and_nothing_goes_twice(
    spool: SpoolOpener, name: str
) -> None:
    async with spool() as store:
        message = await put(store)
        await _kill_in(IN_REMOVAL, spool, message, name)
        assert list(spool.directory.glob(f"*{message}.content"))
    async with spool():
        assert not list(spool.directory.glob("[!.]*"))
    assert doubted(spool) == []
    assert [e.id for e in spool.reports if isinstance(e, Recovered)] == [message]


async def test_delivered_message_that_another_process_sent_again_is_named(
    spool: SpoolOpener,
) -> None:
    async with spool() as store:
        message = await put(store)
        await _kill_in(IN_REMOVAL, spool, message, ".envelope")
        # Before any process has recovered the remains of the dead one.
        await (await claimed(store, message)).settle(Done())
    async with spool():
        assert [event.id for event in doubted(spool)] == [message]


@pytest.fixture
def unwatchable() -> tuple[str, ...]:
    """Give the beginning of a command that may watch no directory."""
    command = ("unshare", "-Ur", "sh", "-c", NO_WATCHES)
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], check=False).returncode
    ):
        pytest.skip("user namespaces are not to be had here")
    return command


async def test_mail_is_found_where_no_directory_can_be_watched(
    spool: SpoolOpener, unwatchable: tuple[str, ...]
) -> None:
    async with spool():
        pass
    before = 0
    async with claimer(spool, before=unwatchable) as polling:
        for number in range(3):
            message = drop(spool, number)
            assert await polling.line() == message
            if number == 0:
                before = polling.descriptors()
        # Each look tries to watch again, which must leave nothing.
        assert polling.descriptors() <= before + 1


async def test_mail_is_found_when_every_hint_socket_is_gone(spool: SpoolOpener) -> None:
    async with spool() as store, claimer(spool) as waiting:
        for hint_socket in (spool.directory / ".wake").iterdir():
            hint_socket.unlink()
        for _ in range(3):
            message = await put(store)
            assert await waiting.line() == message


async def test_thousands_of_messages_at_once_are_each_claimed_once(spool: SpoolOpener) -> None:
    count = extent(3_000, 20_000)
    async with spool():
        pass
    async with AsyncExitStack() as stack:
        claimers = [await stack.enter_async_context(claimer(spool)) for _ in range(2)]
        dropping = asyncio.to_thread(lambda: {drop(spool, number) for number in range(count)})
        taken: list[str] = []

        async def read(one: Claimer) -> None:
            while len(taken) < count:
                taken.append(await one.line())

        reading = [asyncio.create_task(read(one)) for one in claimers]
        dropped = await dropping
        async with asyncio.timeout(LONG):
            await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        assert len(taken) == count
        assert set(taken) == dropped
    async with spool() as store:
        assert await listed(store) == {}


async def test_running_store_goes_on_in_a_directory_that_replaced_its_own(
    spool: SpoolOpener,
) -> None:
    async with spool() as store, store.feed(Stage.READY) as feed:
        await _finish(feed_message=await put(store), feed=feed)
        spool.directory.rename(spool.directory.with_name("away"))
        spool.directory.mkdir()
        message = drop(spool, 1)
        await _finish(feed_message=message, feed=feed)
        await _finish(feed_message=await put(store), feed=feed)


async def _finish(feed_message: QueueId, feed: Feed) -> None:
    async with await next_of(feed) as claim:
        assert claim.id == feed_message
        await claim.settle(Done())
