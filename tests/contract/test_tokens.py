"""Tokens are whole or absent, and one process at a time renews those of an account."""

import asyncio
from collections.abc import Callable

from emailrelay.store.tokens import TokenStore

Opened = Callable[[], TokenStore]


async def test_account_has_no_tokens_before_they_are_kept(tokens: Opened) -> None:
    assert await tokens().read("office") is None


async def test_kept_tokens_are_read_by_every_process(tokens: Opened) -> None:
    one, other = tokens(), tokens()
    for octets in (b"first" * 1000, b"second"):
        async with one.turn("office") as turn:
            assert turn is not None
            await turn.reserve()
            await turn.keep(octets)
        assert await one.read("office") == await other.read("office") == octets
    assert await other.read("another") is None
    await one.close()
    assert await one.read("office") == b"second"


async def test_tokens_may_be_kept_twice_in_a_turn(tokens: Opened) -> None:
    async with tokens().turn("office") as turn:
        assert turn is not None
        await turn.keep(b"one")
        await turn.reserve()
        await turn.keep(b"two")
    assert await tokens().read("office") == b"two"


async def test_one_process_at_a_time_has_the_turn_of_an_account(tokens: Opened) -> None:
    one, other = tokens(), tokens()
    async with one.turn("office") as first:
        assert first is not None
        async with other.turn("office") as second, other.turn("another") as third:
            assert second is None
            assert third is not None
    async with other.turn("office") as second:
        assert second is not None


async def test_turn_ends_with_a_task_that_is_cancelled(tokens: Opened) -> None:
    inside = asyncio.Event()

    async def renew() -> None:
        async with tokens().turn("office") as turn:
            assert turn is not None
            await turn.reserve()
            inside.set()
            await asyncio.Event().wait()

    renewing = asyncio.create_task(renew())
    await inside.wait()
    renewing.cancel()
    await asyncio.wait((renewing,))
    async with tokens().turn("office") as turn:
        assert turn is not None
    assert await tokens().read("office") is None
