"""Tokens are kept, renewed in time, and renewed once for all."""

import asyncio

from tests.service.oauth.sign_ins import refused
from tests.service.signing_in import HANG, Desk

from emailrelay.oauth import device

# Renewals


async def test_token_is_asked_for_once_and_kept_for_others(desk: Desk) -> None:
    desk.application()
    bearer = desk.bearer()
    tokens = {*await asyncio.gather(*(bearer("office") for _ in range(20)))}
    tokens |= {await desk.bearer()("office")}
    assert len(tokens) == 1
    assert len(desk.server.requests) == 1


async def test_token_is_renewed_before_it_ends_while_the_old_one_is_used(desk: Desk) -> None:
    desk.application()
    bearer = desk.bearer()
    first = await bearer("office")
    desk.later(3350)
    desk.server.gate = asyncio.Event()
    desk.server.reached.clear()
    assert await bearer("office") == first
    async with asyncio.timeout(HANG):
        await desk.server.reached.wait()
    assert await bearer("office") == first
    assert await desk.bearer()("office") == first
    desk.server.gate.set()
    await bearer.close()
    second = await desk.bearer()("office")
    assert second != first
    assert len(desk.server.requests) == 2


async def test_refused_token_is_renewed_once_for_all(desk: Desk) -> None:
    desk.application()
    bearer, other = desk.bearer(), desk.bearer()
    first = await bearer("office")
    desk.later(100)
    found = {*await asyncio.gather(*(b("office", renew=True) for b in (bearer, other, bearer)))}
    assert len(found) == 1
    assert found != {first}
    assert len(desk.server.requests) == 2
    assert await bearer("office", renew=True) in found  # it is new: another would be no better


async def test_session_that_is_given_up_breaks_off_no_renewal(desk: Desk) -> None:
    desk.application()
    desk.server.gate = asyncio.Event()
    bearer = desk.bearer()
    session = asyncio.create_task(bearer("office"))
    async with asyncio.timeout(HANG):
        await desk.server.reached.wait()
    session.cancel()
    desk.server.gate.set()
    await bearer.close()
    assert await desk.bearer()("office") in desk.server.tokens
    assert len(desk.server.requests) == 1


async def test_settings_taken_back_find_the_sign_in_again(desk: Desk) -> None:
    account = desk.account("device-code", client_id="public")
    renewal = desk.renewal(account)
    await renewal.keep_sign_in(
        await device.sign_in(renewal, lambda shown: desk.server.approve(shown.code))
    )
    text = desk.config.read_text()
    desk.config.write_text(text.replace('"public"', '"misspelt"'))
    assert "no user has signed in" in (await refused(desk)).reason
    desk.config.write_text(text)
    assert await desk.bearer()("office") in desk.server.tokens
