"""Live updates: made once for all browsers, and only while there are some."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from emailrelay_console.web.live import MOST, Live, TooManyBrowsers


class Counted:
    """Makes versions, and counts them."""

    def __init__(self) -> None:
        self.made = 0

    async def __call__(self) -> str:
        self.made += 1
        return f"version {self.made}\nof the part"


async def version_of(stream: AsyncIterator[bytes]) -> int:
    async with asyncio.timeout(20):
        event = await anext(stream)
    assert event.startswith(b"data: version ")
    assert event.endswith(b"\ndata: of the part\n\n")
    return int(event.split(b"\n")[0].rpartition(b" ")[2])


def opened(live: Live, *, goes_on: bool = True) -> AsyncIterator[bytes]:
    live.reserve()
    return live.events(lambda: goes_on)


async def test_fifty_browsers_cost_no_more_versions_than_one() -> None:
    counted = Counted()
    live = Live(counted, pause=0.01)
    streams = [opened(live) for _ in range(50)]
    for stream in streams:
        assert (await anext(stream)).startswith(b"retry: ")
    for _ in range(5):
        seen = await asyncio.gather(*map(version_of, streams))
        # All get the version that was made last, and one may be made meanwhile.
        assert max(seen) - min(seen) <= 1
        assert counted.made - max(seen) <= 1
    await live.close()


async def test_nothing_is_made_without_a_browser() -> None:
    counted = Counted()
    live = Live(counted, pause=0.01)
    stream = opened(live)
    await anext(stream)
    first = await version_of(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    others = asyncio.all_tasks() - {asyncio.current_task()}
    async with asyncio.timeout(20):
        await asyncio.gather(*others)  # they end by themselves
    assert counted.made <= first + 1
    again = opened(live)
    await anext(again)
    assert await version_of(again) > 0
    await live.close()


async def test_a_stream_ends_with_its_session_and_with_the_console() -> None:
    live = Live(Counted(), pause=0.01)
    over = opened(live, goes_on=False)
    assert [part async for part in over] == [b"retry: 5000\n\n"]
    stream = opened(live)
    await anext(stream)
    await version_of(stream)
    rest = asyncio.create_task(_rest(stream))
    await live.close()
    async with asyncio.timeout(20):
        await rest


async def _rest(stream: AsyncIterator[bytes]) -> None:
    async for _ in stream:
        pass


async def test_the_number_of_browsers_is_bounded() -> None:
    live = Live(Counted())
    for _ in range(MOST):
        live.reserve()
    with pytest.raises(TooManyBrowsers):
        live.reserve()
