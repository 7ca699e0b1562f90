"""What a running forwarder takes over from new settings, besides its servers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from tests.fakes.smtp_peer import SmtpPeer, Wait
from tests.service.forwarding import Office

from emailrelay.config import ForwarderSettings, read
from emailrelay.events.event import Event
from emailrelay.oauth.bearer import Bearer
from emailrelay.process_state import AccountState, ProcessState
from emailrelay.service import LiveSettings, Signals
from emailrelay.stage import Stage
from emailrelay_forwarder import cli
from emailrelay_forwarder.settings.bearers import Bearers
from emailrelay_forwarder.settings.policy_settings import check_files
from emailrelay_forwarder.worker import ForwarderWorker

GOOD = 'forward_to = "127.0.0.1:1"\nconnections_per_route = 8\n'
BAD = GOOD + 'client_tls_verify = "/nowhere"\n'
LARGER = f"""{GOOD}
[[route]]
name = "other"
recipient = ["x.test"]
smarthosts = ["127.0.0.1:2"]
"""


@asynccontextmanager
async def at_work(file: Path) -> AsyncGenerator[tuple[LiveSettings[ForwarderSettings], Signals]]:
    """Run the work of a forwarder by the settings in a file."""
    argv = ["--config", str(file), "--spool-dir", str(file.parent / "spool")]
    told = list[Event]()
    settings = read(ForwarderSettings, argv, {})
    live = LiveSettings(settings, argv, environ={}, report=told.append, check=check_files)
    ready, stop = asyncio.Event(), asyncio.Event()
    # Real ones would change what this process does at a signal.
    stand_in = SimpleNamespace(
        stop=stop, ready=ready.set, on_flush=list[object]().append, state=ProcessState
    )
    signals = cast("Signals", stand_in)
    work = asyncio.create_task(cli.work(live, told.append, signals, None))
    try:
        async with asyncio.timeout(60):
            await ready.wait()
            yield live, signals
    finally:
        stop.set()
        await work


async def test_only_settings_in_force_give_the_state_of_the_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Bearers.new
    made = list[Bearer]()

    def noted(bearers: Bearers, settings: ForwarderSettings) -> Bearer:
        made.append(bearer := new(bearers, settings))
        bearer.states["office"] = AccountState(until=len(made))
        return bearer

    monkeypatch.setattr(Bearers, "new", noted)
    (file := tmp_path / "settings.toml").write_text(GOOD)
    async with at_work(file) as (live, signals):
        file.write_text(BAD)
        assert not live.reload()
        assert signals.state().accounts == made[0].states
        file.write_text(GOOD)
        assert live.reload()
        assert signals.state().accounts == made[-1].states
        assert made[-1].states != made[0].states


async def test_new_routes_are_worked_on_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = list[int]()

    def noted(_worker: ForwarderWorker, messages: int) -> None:
        wanted.append(messages)

    monkeypatch.setattr(ForwarderWorker, "forward_at_once", noted)
    (file := tmp_path / "settings.toml").write_text(GOOD)
    async with at_work(file) as (live, _signals):
        assert live.reload()
        file.write_text(LARGER)
        assert live.reload()
    assert wanted == [8 + 4, 8 + 8 + 4]


async def test_more_messages_at_a_time_begin_while_others_wait() -> None:
    slow = Wait(asyncio.Event(), asyncio.Event())
    stop = asyncio.Event()
    async with SmtpPeer({"DOT": [slow]}) as peer:
        office = Office(peer.address)
        async with office.store.feed(Stage.READY) as feed, asyncio.timeout(60):
            worker = ForwarderWorker(
                feed=feed,
                forwarding=office.forwarding,
                report=office.told.append,
                tasks=1,
                grace=3.0,
            )
            running = asyncio.create_task(worker.run(stop))
            await office.put()
            await slow.reached.wait()
            await office.put()
            worker.forward_at_once(2)
            await peer.until(messages=1)
            slow.go.set()
            await peer.until(messages=2)
            stop.set()
            await running
            await office.forwarding.close()
