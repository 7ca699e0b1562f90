"""The forwarder as a process over a spool: it forwards mail as it comes, and obeys signals."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.acceptance.relay import free_port
from tests.fakes.smtp_peer import Hang, Say, SmtpPeer, Wait
from tests.service.forwarder_process import HANG, forwarder, history, ids, put

from emailrelay.ack import Ack
from emailrelay.descriptor_limit import ENOUGH
from emailrelay.envelope import Address, Envelope
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store

SINK = Path("/usr/sbin/smtp-sink")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path / "spool", report=lambda _event: None) as opened:
        yield opened


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


async def test_mail_is_forwarded_as_it_comes(store: Store, spool: Path) -> None:
    async with SmtpPeer() as peer, forwarder(spool, peer.address) as running:
        await running.until("started")
        for _ in range(3):
            await put(store)
            await running.until("delivered")
        assert await running.stop() == 0
        assert peer.lines("QUIT") == ["QUIT"]
    assert len(peer.messages) == 3


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_mail_goes_out_when_its_server_is_back_and_not_at_its_own_time(
    store: Store, spool: Path, workers: str
) -> None:
    port, late = free_port(), ("--retry-first=3600", "--retry-longest=3600")
    async with forwarder(spool, f"127.0.0.1:{port}", "--workers", workers, *late) as running:
        for _ in range(3):
            await put(store)
        await running.until("smarthost_trouble")
        async with SmtpPeer(port=port) as peer:
            await peer.until(messages=3)
            assert await running.stop() == 0


@pytest.mark.linux
async def test_process_may_open_as_many_files_as_it_is_permitted(spool: Path) -> None:
    async with forwarder(spool, "127.0.0.1:1") as running:
        await running.until("started")
        soft, hard = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        assert soft >= min(hard, ENOUGH)
        assert await running.stop() == 0


@pytest.mark.parametrize("options", [(), ("--verbose",)])
async def test_dialogue_is_told_when_asked_for_and_without_the_message(
    store: Store, spool: Path, options: Sequence[str]
) -> None:
    await put(store)
    async with SmtpPeer() as peer, forwarder(spool, peer.address, *options) as running:
        await running.until("delivered")
        assert await running.stop() == 0
    told = [event for event in running.told if event["event"] == "dialogue"]
    if not options:
        assert told == []
        return
    lines = [f"{event['direction']} {event['line']}" for event in told]
    assert "rx<< 220 peer.test ESMTP" in lines
    assert "tx>> RCPT TO:<to@there.test>" in lines
    assert "xxxx" not in "".join(lines)
    assert {event["peer"] for event in told} == {peer.address}


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_client_filter_of_a_process_edits_what_is_sent(
    store: Store, spool: Path, tmp_path: Path, workers: str
) -> None:
    script = tmp_path / "footer"
    script.write_text('#!/bin/sh\nprintf "footer\\r\\n" >> "$1"\n')
    script.chmod(0o755)
    for _ in range(6):
        await put(store)
    options = ("--client-filter", str(script), "--workers", workers)
    async with (
        SmtpPeer({"RCPT": ["451 later"] * 3}) as peer,
        forwarder(spool, peer.address, *options) as running,
    ):
        for _ in range(3):  # a flush makes no message due whose deferral comes after it
            await running.until("deferred")
        running.process.send_signal(signal.SIGUSR1)
        await peer.until(messages=6)
        assert await running.stop() == 0
    assert all(message.content.count(b"footer") == 1 for message in peer.messages)
    assert await ids(store) == []


async def test_refusal_is_final_without_retry(store: Store, spool: Path) -> None:
    message = await put(store)
    async with (
        SmtpPeer({"RCPT": "451 4.2.0 later"}) as peer,
        forwarder(spool, peer.address, "--no-retry") as running,
    ):
        failed = await running.until("failed")
        assert "451 4.2.0 later" in failed["reason"]
        assert await running.stop() == 0
    assert await ids(store, Stage.FAILED) == [message]


async def test_server_away_is_tried_again_without_retry(store: Store, spool: Path) -> None:
    await put(store)
    away = Say(b"421 4.3.2 away\r\n", then_close=True)
    async with (
        SmtpPeer({"greeting": [away]}) as peer,
        forwarder(spool, peer.address, "--no-retry") as running,
    ):
        await running.until("delivered")
        assert await running.stop() == 0


async def test_client_session_uses_one_connection_and_two_use_two(
    store: Store, spool: Path
) -> None:
    envelope = Envelope(sender=Address("from@us.test"), to_remote=(Address("to@there.test"),))
    async with SmtpPeer() as peer, forwarder(spool, peer.address) as running:
        for session in ("one", "one", "one", "two", "two", "one"):
            async with store.draft(envelope) as draft:
                draft.write(b"Subject: awaited\r\n\r\n")
                await draft.commit(Stage.READY, Ack.DELIVERED, session)
                answer = await draft.answer(HANG)
            assert answer is not None
            assert answer.accepted
        assert await running.stop() == 0
    assert [message.connection for message in peer.messages] == [1, 1, 1, 2, 2, 1]


async def test_workers_share_the_mail(store: Store, spool: Path) -> None:
    for _ in range(30):
        await put(store)
    async with SmtpPeer() as peer, forwarder(spool, peer.address, "--workers", "2") as running:
        await peer.until(messages=30)
        await put(store)
        await peer.until(messages=31)
        assert await running.stop() == 0
    assert len(peer.messages) == 31
    assert await ids(store) == []


async def test_second_worker_takes_the_mail_of_one_that_hangs(store: Store, spool: Path) -> None:
    async with SmtpPeer() as peer, forwarder(spool, peer.address, "--workers", "2") as running:
        await running.until("started")
        first = int(_children(running.process.pid)[0])
        os.kill(first, signal.SIGSTOP)
        for _ in range(3):
            await put(store)
        await peer.until(messages=3)
        os.kill(first, signal.SIGCONT)
        assert await running.stop() == 0
    assert await ids(store) == []


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sigusr1_makes_deferred_mail_due(store: Store, spool: Path, workers: str) -> None:
    await put(store)
    script = {"RCPT": ["451 later"]}
    async with (
        SmtpPeer(script) as peer,
        forwarder(spool, peer.address, "--workers", workers) as running,
    ):
        await running.until("deferred")
        running.process.send_signal(signal.SIGUSR1)
        await running.until("delivered")
        assert await running.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_poll_makes_deferred_mail_due(store: Store, spool: Path, workers: str) -> None:
    await put(store)
    options = ("--poll", "0.5", "--workers", workers)
    async with (
        SmtpPeer({"RCPT": ["451 later"]}) as peer,
        forwarder(spool, peer.address, *options) as running,
    ):
        await running.until("delivered")
        assert await running.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_server_that_is_back_gets_all_that_waited(
    store: Store, spool: Path, workers: str
) -> None:
    for _ in range(20):
        await put(store)
    away = Say(b"421 4.3.2 away\r\n", then_close=True)
    async with (
        SmtpPeer({"greeting": [away] * 2}) as peer,
        forwarder(spool, peer.address, "--workers", workers) as running,
    ):
        await running.until("smarthost_back")
        await peer.until(messages=20)
        assert await running.stop() == 0
    assert await ids(store) == []


async def test_sigterm_waits_for_the_answer_to_the_dot(store: Store, spool: Path) -> None:
    await put(store)
    reached, go = asyncio.Event(), asyncio.Event()
    script = {"DOT": Wait(reached, go)}
    async with SmtpPeer(script) as peer, forwarder(spool, peer.address) as running:
        await reached.wait()
        running.process.send_signal(signal.SIGTERM)
        await running.until("stopping")
        go.set()
        assert await running.end() == 0
        assert len(peer.messages) == 1
    assert await ids(store) == []


async def test_sigterm_drops_what_is_not_at_its_dot(store: Store, spool: Path) -> None:
    message = await put(store)
    async with SmtpPeer({"RCPT": Hang()}) as peer, forwarder(spool, peer.address) as running:
        await peer.until(command="RCPT")
        assert await running.stop() == 0
    found = await history(store, message)
    assert found is not None
    assert found.attempts == 0


@pytest.mark.parametrize("options", [(), ("--stop-grace=0.1",), ("--stop-grace=5", "--workers=2")])
async def test_sigterm_records_the_doubt_when_no_answer_comes(
    store: Store, spool: Path, options: tuple[str, ...]
) -> None:
    message = await put(store)
    async with (
        SmtpPeer({"DOT": Hang()}) as peer,
        forwarder(spool, peer.address, *options) as running,
    ):
        await peer.until(command="DATA")
        await peer.until(contents=1)
        assert await running.stop() == 0
    assert "possible_duplicate" in running.names()
    found = await history(store, message)
    assert found is not None
    assert found.attempts == 1


def peak(pid: int) -> int:
    """Give the greatest resident size of a process so far, in octets (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
async def test_large_message_costs_little_memory(store: Store, spool: Path) -> None:
    async with SmtpPeer(keep_content=False) as peer, forwarder(spool, peer.address) as running:
        await put(store)
        await running.until("delivered")
        before = peak(running.process.pid)
        await put(store, size=50 * 1024 * 1024)
        await running.until("delivered")
        assert peak(running.process.pid) - before < 8 * 1024 * 1024


@pytest.mark.skipif(not SINK.exists(), reason="Postfix's smtp-sink is not installed")
async def test_sink_of_others_gets_every_message(store: Store, spool: Path, tmp_path: Path) -> None:
    for _ in range(50):
        await put(store)
    port = free_port()
    dump = tmp_path / "dump"
    identity = ["-u", "root"] if os.geteuid() == 0 else []
    sink = await asyncio.create_subprocess_exec(
        SINK, *identity, "-D", str(dump), f"127.0.0.1:{port}", "100"
    )
    try:
        async with forwarder(spool, f"127.0.0.1:{port}") as running:
            for _ in range(50):
                await running.until("delivered")
            assert await running.stop() == 0
    finally:
        sink.terminate()
        await sink.wait()
    assert dump.read_bytes().count(b"X-Mail-Args: ") == 50
    assert await ids(store) == []
