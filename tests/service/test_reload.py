"""SIGHUP: settings are read again while the services go on."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.smtp_peer import SmtpPeer, Wait
from tests.forked import ForkedProcess, start_forked
from tests.service.forwarder_process import Running, put
from tests.service.receiving import HANG
from tests.service.test_receiver_process import connect

from emailrelay.config import ReceiverSettings, read
from emailrelay.errors import ConfigError
from emailrelay.events.event import Event
from emailrelay.events.service import Reloaded, ReloadRefused
from emailrelay.queue_id import QueueId
from emailrelay.service import LiveSettings, Swap
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store


class Reloading(Running):
    """A service as a process, its settings file, and its events."""

    def __init__(self, process: ForkedProcess, file: Path) -> None:
        super().__init__(process)
        self.file = file

    async def reload(self, text: str) -> dict[str, Any]:
        """Write a new file and reload it; return the events of the reload."""
        self.file.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        return await self.until("reloaded", "reload_refused")


@asynccontextmanager
async def running(folder: Path, service: str, text: str, *flags: str) -> AsyncGenerator[Reloading]:
    file = folder / f"{service}.toml"
    file.write_text(text)
    where = ("--config", str(file), "--spool-dir", str(folder / "spool"))
    process = await start_forked(f"emailrelay-{service}", *where, "--log-format=json", *flags)
    try:
        yield (started := Reloading(process, file))
        assert await started.stop() == 0
    finally:
        process.kill()
        await process.wait()


async def stage_is(store: Store, message: QueueId, stage: Stage | None) -> None:
    async with asyncio.timeout(HANG):
        while (found := await store.describe(message)) is not None or stage is not None:
            if found is not None and found[0] is stage:
                return
            await asyncio.sleep(0.02)


async def listening(receiver: Reloading) -> str:
    """Wait until it serves; give where."""
    told = await receiver.until("listening")
    await receiver.until("started")
    return str(told["address"])


async def greeted(address: str, domain: str, times: int) -> None:
    """Wait until this many clients in a row get this name: workers follow one by one."""
    async with asyncio.timeout(HANG):
        in_a_row = 0
        while in_a_row < times:
            peer = await connect(address)
            in_a_row = in_a_row + 1 if domain in await peer.reply() else 0
            await peer.ask("QUIT")
            peer.writer.close()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_receiver_serves_new_clients_by_new_settings_and_the_old_ones_by_theirs(
    tmp_path: Path, workers: str
) -> None:
    flags = ("--port=0", "--interface=127.0.0.1", "--workers", workers)
    async with running(tmp_path, "receiver", 'domain = "old.test"', *flags) as receiver:
        address = await listening(receiver)
        early = await connect(address)
        await early.to_data()
        told = await receiver.reload('domain = "new.test"\nsize = 1000\nfilter = ["exit:0"]\n')
        assert told["changed"].split(", ") == ["domain", "filter", "size"]
        await greeted(address, "new.test", 8)
        assert (await early.ask("x" * 2000 + "\r\n.")).startswith("250")
        assert "SIZE 104857600" in await early.ask("EHLO c")
        late = await connect(address)
        await late.to_data()
        assert (await late.ask("x" * 2000 + "\r\n.")).startswith("552")
        for peer in (early, late):
            peer.writer.close()
        spool = tmp_path / "spool"
        assert [path.name.endswith(".envelope") for path in spool.glob("*.envelope*")] == [True]
        async with open_store(spool, report=lambda _event: None) as store, asyncio.timeout(HANG):
            while await store.entrance() is not Stage.UNFILTERED:  # noqa: ASYNC110 - no event of ours
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_bad_settings_are_refused_whole_and_the_old_ones_stay(
    tmp_path: Path, workers: str
) -> None:
    flags = ("--port=0", "--interface=127.0.0.1", "--workers", workers)
    async with running(tmp_path, "receiver", 'domain = "old.test"', *flags) as receiver:
        address = await listening(receiver)
        told = await receiver.reload('domain = "new.test"\nsize = -1\nfilter = "exit:300"\n')
        assert told["event"] == "reload_refused"
        assert "size in " in told["problems"]
        assert "exit:300" in told["problems"]
        await greeted(address, "old.test", 8)
        told = await receiver.reload('domain = "new.test"\n')
        assert (told["event"], told["changed"]) == ("reloaded", "domain")
        await greeted(address, "new.test", 8)
    # Once, however many workers follow.
    assert receiver.names().count("reloaded") == receiver.names().count("reload_refused") == 1


async def test_a_worker_that_replaces_one_has_the_new_settings(tmp_path: Path) -> None:
    flags = ("--port=0", "--interface=127.0.0.1", "--workers=2")
    async with running(tmp_path, "receiver", 'domain = "old.test"', *flags) as receiver:
        address = await listening(receiver)
        await receiver.reload('domain = "new.test"\n')
        await greeted(address, "new.test", 8)
        killed = children(receiver.process.pid)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await greeted(address, "new.test", 8)
        assert not killed & children(receiver.process.pid)


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_filterd_filters_what_follows_by_the_new_chain(tmp_path: Path, workers: str) -> None:
    async with open_store(tmp_path / "spool", report=lambda _event: None) as store:
        text = 'filter = ["exit:0"]\n'
        async with running(tmp_path, "filterd", text, "--workers", workers) as filterd:
            await stage_is(store, await put(store, stage=Stage.UNFILTERED), Stage.READY)
            told = await filterd.reload('filter = ["exit:100"]\nworkers = 7\n')
            assert told["changed"] == "filter"
            async with asyncio.timeout(HANG):
                while True:
                    message = await put(store, stage=Stage.UNFILTERED)
                    await _filtered(store, message)
                    if await store.describe(message) is None:
                        break


async def _filtered(store: Store, message: QueueId) -> None:
    async with asyncio.timeout(HANG):
        while (found := await store.describe(message)) and found[0] is Stage.UNFILTERED:  # noqa: ASYNC110 - no event of ours
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_filters_that_are_given_at_last_take_up_what_waits(
    tmp_path: Path, workers: str
) -> None:
    async with open_store(tmp_path / "spool", report=lambda _event: None) as store:
        message = await put(store, stage=Stage.UNFILTERED)
        async with running(tmp_path, "filterd", "", "--workers", workers) as filterd:
            await filterd.until("no_filter")
            await filterd.reload('filter = ["exit:0"]\n')
            await stage_is(store, message, Stage.READY)


async def test_a_filter_under_way_is_left_in_peace(tmp_path: Path) -> None:
    began, go = tmp_path / "began", tmp_path / "go"
    script = tmp_path / "filter"
    script.write_text(
        f"#!/bin/sh\n: > {began}\nwhile [ ! -e {go} ]; do sleep 0.05; done\nexit 100\n"
    )
    script.chmod(0o755)
    async with (
        open_store(tmp_path / "spool", report=lambda _event: None) as store,
        running(tmp_path, "filterd", f'filter = ["{script}"]\n') as filterd,
    ):
        message = await put(store, stage=Stage.UNFILTERED)
        async with asyncio.timeout(HANG):
            while not began.exists():  # noqa: ASYNC110 - no event of ours
                await asyncio.sleep(0.02)
        await filterd.reload('filter = ["exit:0"]\nfilter_timeout = 0.1\n')
        await stage_is(store, await put(store, stage=Stage.UNFILTERED), Stage.READY)
        go.touch()
        await stage_is(store, message, None)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_forwarder_sends_what_follows_and_what_was_turned_away_to_the_new_server(
    tmp_path: Path, workers: str
) -> None:
    async with (
        open_store(tmp_path / "spool", report=lambda _event: None) as store,
        SmtpPeer() as peer,
    ):
        text = 'forward_to = "127.0.0.1:1"\n'
        async with running(tmp_path, "forwarder", text, "--workers", workers) as forwarder:
            message = await put(store, stage=Stage.READY)
            await forwarder.until("smarthost_trouble")
            await forwarder.reload(f'forward_to = "{peer.address}"\n')
            await stage_is(store, message, None)
            await stage_is(store, await put(store, stage=Stage.READY), None)


async def test_a_delivery_under_way_ends_where_it_began(tmp_path: Path) -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    async with (
        open_store(tmp_path / "spool", report=lambda _event: None) as store,
        SmtpPeer({"DOT": Wait(reached, go)}) as old,
        SmtpPeer() as new,
    ):
        text = f'forward_to = "{old.address}"\nresponse_timeout = 20\n'
        async with running(tmp_path, "forwarder", text) as forwarder:
            message = await put(store, stage=Stage.READY)
            async with asyncio.timeout(HANG):
                await reached.wait()
            await forwarder.reload(f'forward_to = "{new.address}"\nresponse_timeout = 0.1\n')
            await stage_is(store, await put(store, stage=Stage.READY), None)
            assert await store.describe(message) is not None
            go.set()
            await stage_is(store, message, None)
        assert (len(old.messages), len(new.messages)) == (1, 1)
        assert forwarder.names().count("delivered") == 2


async def test_a_storm_of_signals_disturbs_no_mail(tmp_path: Path) -> None:
    flags = ("--port=0", "--interface=127.0.0.1", "--workers=2")
    text = 'domain = "relay.test"\n'
    async with running(tmp_path, "receiver", text, *flags) as receiver:
        address = await listening(receiver)
        for _ in range(30):
            peer = await connect(address)
            await peer.to_data()
            receiver.process.send_signal(signal.SIGHUP)
            assert (await peer.ask("text\r\n.")).startswith("250")
            peer.writer.close()
    assert len(list((tmp_path / "spool").glob("*.envelope"))) == 30
    assert not {"worker_died", "session_trouble", "reload_refused"} & set(receiver.names())


def test_what_needs_a_restart_is_named_and_left(tmp_path: Path) -> None:
    file, events = tmp_path / "x.toml", list[Event]()
    live = _live(file, events, 'port = 2525\nspool_dir = "/a"\n')
    file.write_text('port = 2526\nspool_dir = "/b"\nsize = 9\n')
    assert live.reload()
    assert events == [Reloaded(service="receiver", changed="size", needs_restart="port, spool_dir")]
    assert (live.now.port, str(live.now.spool_dir), live.now.size) == (2525, "/a", 9)


def test_what_one_part_cannot_use_no_part_uses(tmp_path: Path) -> None:
    file, events, swapped = tmp_path / "x.toml", list[Event](), list[str]()

    def good(_settings: ReceiverSettings) -> Swap:
        return lambda: swapped.append("good")

    def bad(settings: ReceiverSettings) -> Swap:
        raise ConfigError([f"the key for {settings.domain} cannot be read"])

    live = _live(file, events, 'domain = "old.test"\n')
    live.on_change(good)
    live.on_change(bad)
    file.write_text('domain = "new.test"\n')
    assert not live.reload()
    assert events == [
        ReloadRefused(service="receiver", problems="the key for new.test cannot be read")
    ]
    assert (live.now.domain, swapped) == ("old.test", [])


def _live(file: Path, events: list[Event], text: str) -> LiveSettings[ReceiverSettings]:
    file.write_text(text)
    argv = ["--config", str(file)]
    return LiveSettings(read(ReceiverSettings, argv, {}), argv, report=events.append, environ={})
