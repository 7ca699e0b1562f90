"""The overview of the console: its numbers, and how they change while it is open."""

import asyncio
import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.relay import until
from tests.contract.conftest import PostgresOpener, SpoolOpener
from tests.contract.mail import LATER, NEVER, OK, Opener, attempt, claimed, put
from tests.service.console_browser import HANG, Browser, RunningConsole, running

from emailrelay.service_status import ServiceStatus, write
from emailrelay.settlement import Defer, Done, Fail
from emailrelay.store.mail_history import HistoryBounds

Watched = tuple[RunningConsole, Opener]


async def fill(opener: Opener) -> None:
    """Two messages delivered, one dropped by the operator, one failed, one deferred, one ready."""
    now = time.time()
    async with opener() as store:
        await store.history().keep(HistoryBounds(30, 1 << 30))
        messages = [await put(store) for _ in range(6)]
        for message in messages[:2]:
            async with await claimed(store, message) as claim:
                await claim.settle(Done(attempt(now, ann=OK, bob=OK, cat=OK)))
        await store.delete(messages[2])
        async with await claimed(store, messages[3]) as claim:
            await claim.settle(Fail(NEVER))
        async with await claimed(store, messages[4]) as claim:
            await claim.settle(Defer(attempt(now, ann=LATER, next_attempt=now + 900)))


@pytest.fixture(params=[SpoolOpener, PostgresOpener], ids=lambda kind: kind.__name__)
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    opener: Opener = request.param(tmp_path)
    asyncio.run(fill(opener))
    runtime = tmp_path / "run"
    (runtime / "status").mkdir(mode=0o750, parents=True)
    with running(opener.place, tmp_path, "--runtime-dir", str(runtime)) as console:
        yield console, opener


def deliver_one_more(opener: Opener) -> None:
    async def deliver() -> None:
        async with opener() as store, await claimed(store, await put(store)) as claim:
            await claim.settle(Done(attempt(time.time(), ann=OK, bob=OK, cat=OK)))

    asyncio.run(deliver())


class Stream:
    """The live updates that a browser gets."""

    def __init__(self, browser: Browser) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", browser.port, timeout=HANG)
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        self._connection.request("GET", "/live", headers={"Cookie": cookies})
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200
        assert self._answer.getheader("content-type", "").startswith("text/event-stream")

    def event(self) -> str:
        """The next event; empty at the end."""
        lines = list[str]()
        while (line := self._answer.readline().decode()) not in ("", "\n"):
            lines.append(line)
        return "".join(lines)

    def close(self) -> None:
        self._connection.close()


def test_the_numbers_come_from_queue_and_history(watched: Watched) -> None:
    console, opener = watched
    browser = console.browser("vic")

    def counted() -> str:
        words = browser.get("/").words
        return "" if "still to be read" in words or "still being counted" in words else words

    words = until(counted, "all is read and counted")
    assert "3 all" in words
    assert "Came in 6 in the last hour, 6 in the last day" in words
    assert "Delivered 2 in the last hour" in words
    assert "Failed, and kept 1 in the last hour" in words
    assert "Dropped or deleted 1 in the last hour" in words
    deliver_one_more(opener)
    wanted = "Delivered 3 in the last hour, 3 in the last day"
    until(lambda: wanted in browser.get("/").words, wanted)


def test_failed_mail_does_not_wait_for_its_route(tmp_path: Path) -> None:
    opener, settings = SpoolOpener(tmp_path), tmp_path / "relay.toml"
    asyncio.run(fill(opener))
    settings.write_text('forward_to = "127.0.0.1:1"\n')
    with running(opener.place, tmp_path, "--config", str(settings)) as console:
        browser = console.browser("vic")

        def words() -> str:
            shown = browser.get("/").words
            return shown if "1 failed" in shown and "still to be read" not in shown else ""

        assert " Waiting Next try Reply default up 2 " in until(words, "all is read")


def test_open_pages_hear_of_new_mail_until_their_user_signs_out(watched: Watched) -> None:
    console, opener = watched
    browser = console.browser("vic")
    stream = Stream(browser)
    assert stream.event() == "retry: 5000\n"
    assert '<span class="big">2</span> in the last hour, 2' in stream.event()
    deliver_one_more(opener)
    until(lambda: '<span class="big">3</span> in the last hour, 3' in stream.event(), "it is told")
    browser.post("/sign-out")
    until(lambda: not stream.event(), "the stream ends")
    stream.close()


def test_the_state_of_services_is_told(watched: Watched) -> None:
    console, _ = watched
    browser = console.browser("vic")
    assert "receiver : does not run" in browser.get("/").words
    write(
        console.log.parent / "run",
        ServiceStatus(
            service="receiver",
            pid=1,
            written=time.monotonic(),
            limit=120.0,
            wanted=1,
            ready=True,
            processes=(),
        ),
    )
    wanted = "receiver : none of its processes works"
    until(lambda: wanted in browser.get("/").words, wanted)


def test_a_console_with_open_pages_stops_at_once_and_cleanly(watched: Watched) -> None:
    console, _ = watched
    stream = Stream(console.browser("ann"))
    stream.event()
    stream.event()
    console.process.terminate()
    assert console.process.wait(HANG) == 0
    assert [each["event"] for each in console.events()][-2:] == ["stopping", "stopped"]
    assert not console.events("library_trouble")
    stream.close()
