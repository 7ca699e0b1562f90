"""Routes of a settings file, and their limits over the processes of a pool and two pools."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.fakes.smtp_peer import SmtpPeer
from tests.service.forwarder_process import forwarder, ids, put

from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path / "spool", report=lambda _event: None) as opened:
        yield opened


def settings(folder: Path, text: str) -> str:
    path = folder / "relay.toml"
    path.write_text(text)
    return str(path)


async def test_the_file_says_which_mail_goes_where(store: Store, tmp_path: Path) -> None:
    async with SmtpPeer() as usual, SmtpPeer() as other:
        path = settings(
            tmp_path,
            f'[[route]]\nname = "other"\nrecipient = ["*.there.test"]\n'
            f'smarthosts = ["{other.address}"]\nenvelope_from = "public.test"\n',
        )
        await put(store, "a@here.test", "b@x.there.test")
        async with forwarder(tmp_path / "spool", usual.address, "-c", path, "--once") as running:
            assert await running.end() == 0
        assert [m.recipients for m in usual.messages] == [[b"a@here.test"]]
        assert [m.recipients for m in other.messages] == [[b"b@x.there.test"]]
        assert other.messages[0].sender == b"from@public.test"
    assert await ids(store) == []


@pytest.mark.parametrize(("pools", "workers"), [(1, "3"), (2, "1")])
async def test_connections_are_limited_over_all_processes(
    store: Store, tmp_path: Path, pools: int, workers: str
) -> None:
    async with SmtpPeer() as peer, AsyncExitStack() as ending:
        path = settings(
            tmp_path,
            f'[[route]]\nname = "one"\nsmarthosts = ["{peer.address}"]\nconnections = 1\n',
        )
        options = ("-c", path, "--workers", workers)
        running = [
            await ending.enter_async_context(forwarder(tmp_path / "spool", "unused:1", *options))
            for _ in range(pools)
        ]
        for pool in running:
            await pool.until("started")
        for _ in range(40):
            await put(store)
        await peer.until(messages=40)
        for pool in running:
            assert await pool.stop() == 0
            assert "deferred" not in pool.names()
        assert peer.most_open == 1
    assert await ids(store) == []


async def test_messages_are_counted_over_passes(store: Store, tmp_path: Path) -> None:
    for _ in range(3):
        await put(store)
    async with SmtpPeer() as peer:
        path = settings(
            tmp_path,
            f'[[route]]\nname = "slow"\nsmarthosts = ["{peer.address}"]\nrate = "2/h"\n',
        )
        for _ in range(2):
            async with forwarder(tmp_path / "spool", "unused:1", "-c", path, "--once") as running:
                assert await running.end() == 1
            assert "rate_reached" in running.names()
        assert len(peer.messages) == 2
    assert len(await ids(store)) == 1
