"""Several processes ask for tokens, and some are killed."""

import asyncio
import signal

import pytest
from tests.service.oauth.sign_ins import refused
from tests.service.signing_in import HANG, Desk

# Several processes


async def test_two_processes_ask_once(desk: Desk) -> None:
    desk.server.rotates = True
    desk.server.gate = asyncio.Event()
    desk.person("first")
    async with desk.token_user() as one, desk.token_user() as other, asyncio.timeout(HANG):
        await desk.server.reached.wait()
        desk.server.gate.set()
        (out, _), (again, _) = await asyncio.gather(one.communicate(), other.communicate())
    assert out == again
    assert out.decode().strip() in desk.server.tokens
    assert len(desk.server.requests) == 1


async def test_process_killed_while_it_asks_is_replaced_at_once(desk: Desk) -> None:
    desk.server.gate = asyncio.Event()
    desk.person("first")
    async with desk.token_user() as one, asyncio.timeout(HANG):
        await desk.server.reached.wait()
        async with desk.token_user() as other:
            one.kill()
            desk.server.gate.set()
            out, _ = await other.communicate()
    assert out.decode().strip() in desk.server.tokens
    assert len(desk.server.requests) == 2


@pytest.mark.parametrize("step", ["write", "ftruncate", "fsync", "rename"])
async def test_process_killed_before_tokens_are_kept_leaves_the_old_ones_whole(
    desk: Desk, step: str
) -> None:
    desk.person("first")
    async with desk.token_user(step) as dying, asyncio.timeout(HANG):
        assert await dying.wait() == -signal.SIGKILL
    async with desk.token_user() as next_one, asyncio.timeout(HANG):
        out, _ = await next_one.communicate()
    assert out.decode().strip() in desk.server.tokens
    assert [r["refresh_token"] for r in desk.server.requests] == ["first", "first"]
    assert not list((desk.spool / ".tokens").glob("*.new"))


async def test_kill_that_cost_a_refresh_token_is_told_as_a_new_sign_in(desk: Desk) -> None:
    desk.server.rotates = True
    desk.person("first")
    async with desk.token_user("rename") as dying, asyncio.timeout(HANG):
        assert await dying.wait() == -signal.SIGKILL
    assert "sign in again: emailrelay-auth login office" in (await refused(desk)).advice
