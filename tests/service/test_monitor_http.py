"""The monitor's HTTP server, with clients that mean no good, and its counting of the queue."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Self

import pytest

pytest.importorskip("h11", reason="the extra metrics is not installed")

from emailrelay.store.queue_view import StageCount
from emailrelay.store.quick_chooser import view_at
from emailrelay.store.spool.spool_view import SpoolView
from emailrelay_monitor import http_server, queue_counts
from emailrelay_monitor.http_server import HttpAnswer, HttpServer
from emailrelay_monitor.pages import Pages
from emailrelay_monitor.queue_counts import QueueCount, QueueCounts

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


class CountedView(SpoolView):
    """Counts how often it is counted, which may take time."""

    counted = 0

    def __init__(self, root: Path, passes: Callable[[], object] = lambda: None) -> None:
        super().__init__(str(root))
        self._passes = passes

    def counts(self, now: float, *, names_only: bool = False) -> Iterable[StageCount]:
        self.counted += 1
        self._passes()
        return super().counts(now, names_only=names_only)


def well(queue: QueueCount) -> bool:
    return not queue.trouble


def queue(root: Path) -> QueueCounts:
    return QueueCounts(partial(view_at, root))


async def test_the_queue_is_counted_once_for_many_questions(tmp_path: Path) -> None:
    view = CountedView(tmp_path)
    (tmp_path / "emailrelay.1699999000500.1.1.envelope").touch()
    counts = QueueCounts(lambda: view)
    found = await asyncio.gather(*(counts.latest() for _ in range(50)))
    assert all(map(well, found))
    assert [count.messages for count in (await counts.latest()).counts] == [1]
    assert view.counted == 1


async def test_a_long_count_makes_the_next_one_wait_longer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = 1000.0
    monkeypatch.setattr("emailrelay_monitor.queue_counts.time.monotonic", lambda: now)

    def advance() -> None:
        nonlocal now
        now += 2.0

    view = CountedView(tmp_path, advance)
    counts = QueueCounts(lambda: view)
    await counts.latest()
    now += 199.0
    await counts.latest()
    assert view.counted == 1
    now += 2.0
    await counts.latest()
    assert view.counted == 2


async def test_a_count_that_does_not_end_is_trouble_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(queue_counts, "_PATIENCE", 0.01)
    go_on = threading.Event()
    view = CountedView(tmp_path, go_on.wait)
    counts = QueueCounts(lambda: view)
    assert (await counts.latest()).trouble == "the first count goes on"
    monkeypatch.setattr(queue_counts, "_LONGEST", 0.0)
    assert "no answer within" in (await counts.latest()).trouble
    assert view.counted == 1, "no second thread hangs beside the first"
    monkeypatch.setattr(queue_counts, "_PATIENCE", HANG)
    go_on.set()
    assert well(await counts.latest())


async def test_a_store_that_is_away_is_trouble_and_no_error(tmp_path: Path) -> None:
    counts = QueueCounts(partial(view_at, tmp_path / "none"))
    assert str(tmp_path / "none") in (await counts.latest()).trouble


async def test_mail_in_the_fallback_counts_only_with_all_other_mail(tmp_path: Path) -> None:
    away = "postgresql://nobody@127.0.0.1:1/none"
    counts = QueueCounts(partial(view_at, away, fallback=f"spool://{tmp_path}"))
    assert "a part of the queue is unavailable" in (await counts.latest()).trouble


async def test_unknown_pages_name_the_ones_that_there_are(tmp_path: Path) -> None:
    pages = Pages(tmp_path, (), queue(tmp_path))
    for path in ("/x", "/metrics/x", "//", "/../../etc/passwd"):
        answer = await pages.answer(path, "")
        assert b"/readyz" in answer.body, path
    answer = await pages.answer("/healthz/postfix", "")
    assert (answer.status, answer.body) == (404, b"receiver, forwarder are monitored\n")


async def test_metrics_are_made_once_a_second_whatever_is_asked(tmp_path: Path) -> None:
    pages = Pages(tmp_path, (), queue(tmp_path))
    began = time.monotonic()
    bodies = {(await pages.answer("/metrics", "")).body for _ in range(300)}
    assert len(bodies) <= time.monotonic() - began + 2


async def test_strange_request_spoils_no_metrics_of_others(tmp_path: Path) -> None:
    pages = Pages(tmp_path, (), queue(tmp_path))
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
    pages = Pages(runtime, (), queue(tmp_path))
    assert b"cannot be read" in (await pages.answer("/healthz/receiver", "")).body
    assert (await pages.answer("/metrics", "")).status is HTTPStatus.OK


async def test_damaged_counters_are_an_answer_with_the_reason(tmp_path: Path) -> None:
    counters = tmp_path / "counters"
    counters.mkdir()
    (counters / "counter_0.db").write_bytes(b"\xff\xff\x00\x00" + b"\xff\xff\xff\x7f" * 10)
    answer = await Pages(tmp_path, (), queue(tmp_path)).answer("/metrics", "")
    assert answer.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert str(tmp_path).encode() in answer.body
