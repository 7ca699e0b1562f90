"""The monitor's HTTP server, with clients that mean no good, and its counting of the queue."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Self

import pytest

pytest.importorskip("h11", reason="the extra metrics is not installed")

from emailrelay.errors import StoreError
from emailrelay.stage import Stage
from emailrelay.store.base import StageTotal
from emailrelay.store.chooser import open_store
from emailrelay.store.memory import MemoryStore
from emailrelay_monitor import http_server
from emailrelay_monitor.http_server import HttpAnswer, HttpServer
from emailrelay_monitor.pages import Pages
from emailrelay_monitor.queue_counts import QueueCounts

HANG = 30.0


class Client:
    """A connection that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, octets: bytes) -> Self:
        self.writer.write(octets)
        return self

    async def hear(self) -> bytes:
        """Read to the end of the connection."""
        try:
            async with asyncio.timeout(HANG):
                return await self.reader.read()
        except ConnectionResetError:
            return b""
        finally:
            self.writer.close()


async def shown(path: str, accept: str) -> HttpAnswer:
    return HttpAnswer(HTTPStatus.OK, f"{path} as {accept}".encode())


@asynccontextmanager
async def serving(listening: socket.socket) -> AsyncGenerator[None]:
    with listening:
        async with HttpServer([listening], shown):
            yield


@pytest.fixture
async def port() -> AsyncIterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    found: int = listening.getsockname()[1]
    async with serving(listening):
        yield found


async def connect(port: int) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port))


async def test_a_request_gets_one_answer_and_the_end(port: int) -> None:
    client = await connect(port)
    said = await client.say(b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\nAccept: text\r\n\r\n").hear()
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in head
    assert body == b"/metrics as text"


async def test_head_gets_no_body(port: int) -> None:
    client = await connect(port)
    said = await client.say(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").hear()
    assert said.startswith(b"HTTP/1.1 200")
    assert said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nx=1", b"405"),
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # without Host
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400"),  # TLS
    ],
)
async def test_a_wrong_request_is_refused(port: int, request_: bytes, status: bytes) -> None:
    said = await (await connect(port)).say(request_).hear()
    # The octets that are not read may reset the connection before its answer arrives.
    assert said == b"" or said.split()[1] == status


async def test_slow_and_many_clients_do_not_keep_others_out(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "_SECONDS", 1.0)
    slow = [(await connect(port)).say(b"GET / HT") for _ in range(http_server.MOST)]
    said = await (await connect(port)).say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").hear()
    assert said.startswith(b"HTTP/1.1 200")
    assert await asyncio.gather(*(client.hear() for client in slow)) == [b""] * len(slow)
    said = await (await connect(port)).say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").hear()
    assert said.startswith(b"HTTP/1.1 200")


async def test_a_unix_socket_serves_as_well(sockets: Path) -> None:
    path = str(sockets / "monitor")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    async with serving(listening):
        client = Client(*await asyncio.open_unix_connection(path))
        said = await client.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").hear()
    assert said.startswith(b"HTTP/1.1 200")


class CountedStore(MemoryStore):
    """Counts how often it is counted."""

    counted = 0

    async def counts(self) -> dict[Stage, StageTotal]:
        CountedStore.counted += 1
        return await super().counts()


def counted_store() -> CountedStore:
    CountedStore.counted = 0
    return CountedStore(report=lambda _event: None)


async def test_the_queue_is_counted_once_for_many_questions() -> None:
    store = counted_store()
    counts = QueueCounts(lambda: store)
    found = await asyncio.gather(*(counts.latest() for _ in range(50)))
    assert {each.trouble for each in found} == {""}
    assert (await counts.latest()).stages[Stage.READY].messages == 0
    assert CountedStore.counted == 1
    await counts.close()


async def test_a_long_count_makes_the_next_one_wait_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = counted_store()
    now = 1000.0
    monkeypatch.setattr("emailrelay_monitor.queue_counts.time.monotonic", lambda: now)
    counts = QueueCounts(lambda: store)
    monkeypatch.setattr(store, "counts", slow_counts := SlowCounts(lambda: advance(2.0)))

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    await counts.latest()
    now += 199.0
    await counts.latest()
    assert slow_counts.asked == 1
    now += 2.0
    await counts.latest()
    assert slow_counts.asked == 2


class SlowCounts:
    """Stands in for ``Store.counts``: each call takes time."""

    def __init__(self, passes: Callable[[], None]) -> None:
        self.asked = 0
        self._passes = passes

    async def __call__(self) -> dict[Stage, StageTotal]:
        self.asked += 1
        self._passes()
        return dict.fromkeys(Stage, StageTotal(0, None))


async def test_a_store_that_is_away_is_trouble_and_no_error(tmp_path: Path) -> None:
    counts = QueueCounts(
        lambda: open_store(tmp_path / "none", report=lambda _event: None, looking=True)
    )
    assert str(tmp_path / "none") in (await counts.latest()).trouble


async def test_unknown_pages_name_the_ones_that_there_are(tmp_path: Path) -> None:
    pages = Pages(tmp_path, (), QueueCounts(counted_store))
    for path in ("/x", "/metrics/x", "//", "/../../etc/passwd"):
        answer = await pages.answer(path, "")
        assert b"/readyz" in answer.body, path
    answer = await pages.answer("/healthz/postfix", "")
    assert (answer.status, answer.body) == (404, b"receiver, forwarder are monitored\n")


async def test_metrics_are_made_once_a_second_whatever_is_asked(tmp_path: Path) -> None:
    pages = Pages(tmp_path, (), QueueCounts(counted_store))
    began = time.monotonic()
    bodies = {(await pages.answer("/metrics", "")).body for _ in range(300)}
    assert len(bodies) <= time.monotonic() - began + 2


async def test_strange_request_spoils_no_metrics_of_others(tmp_path: Path) -> None:
    pages = Pages(tmp_path, (), QueueCounts(counted_store))
    wanted = "application/openmetrics-text; version=1.0.0"
    for strange in ("application/openmetrics-text; version=zz", "openmetrics"):
        await pages.answer("/metrics", strange)
        answer = await pages.answer("/metrics", wanted)
        assert answer.status is HTTPStatus.OK
        assert answer.content_type.startswith(wanted)


@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
async def test_planted_files_are_not_waited_for(tmp_path: Path, kind: str) -> None:
    runtime = tmp_path / "run"
    for folder, name in (("status", "receiver.json"), ("counters", "counter_0.db")):
        place = runtime / folder / name
        place.parent.mkdir(parents=True)
        match kind:
            case "fifo":
                os.mkfifo(place)
            case "link":
                place.symlink_to("/dev/zero")
            case _:
                place.mkdir()
    pages = Pages(runtime, (), QueueCounts(counted_store))
    assert b"cannot be read" in (await pages.answer("/healthz/receiver", "")).body
    assert (await pages.answer("/metrics", "")).status is HTTPStatus.OK


async def test_damaged_counters_are_an_answer_with_the_reason(tmp_path: Path) -> None:
    counters = tmp_path / "counters"
    counters.mkdir()
    (counters / "counter_0.db").write_bytes(b"\xff\xff\x00\x00" + b"\xff\xff\xff\x7f" * 10)
    answer = await Pages(tmp_path, (), QueueCounts(counted_store)).answer("/metrics", "")
    assert answer.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert str(tmp_path).encode() in answer.body


async def test_a_store_error_in_a_count_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    store = counted_store()

    async def away() -> dict[Stage, StageTotal]:
        raise StoreError("count the messages", "the database is away")

    monkeypatch.setattr(store, "counts", away)
    assert "the database is away" in (await QueueCounts(lambda: store).latest()).trouble
