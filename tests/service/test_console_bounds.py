"""Clients of the console that mean no good, proxies in front of it, and its needs of memory."""

import asyncio
import http.client
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

import pytest
import uvicorn
from tests.service.console_browser import HANG, Browser, RunningConsole, running

from emailrelay_console import connection_bounds

PROXY = "192.0.2.7"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    directory = tmp_path_factory.mktemp("console")
    with running(f"spool://{directory}/spool", directory) as started:
        yield started


def connect(console: RunningConsole) -> socket.socket:
    return socket.create_connection(("127.0.0.1", console.port), HANG)


def test_idle_and_slow_clients_keep_no_browser_out(console: RunningConsole) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(connect(console))
        for number in range(connection_bounds.MOST + 20):
            client = stack.enter_context(connect(console))
            if number % 2:
                client.sendall(b"GET /queue HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert console.browser("ann").get("/queue").status == 200
        assert first.recv(10) == b""  # the oldest had to go


def test_requests_without_an_end_keep_no_browser_out(console: RunningConsole) -> None:
    head = b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    head += b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(connection_bounds.MOST + 60):
            client = stack.enter_context(connect(console))
            with suppress(OSError):  # the console may have ended it
                client.sendall(head)
        assert console.browser("ann").get("/queue").status == 200
    assert not console.events("internal_error")


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_others_go_on(
    console: RunningConsole, octets: bytes
) -> None:
    answer = b""
    with connect(console) as client, suppress(OSError):  # the console may end it at any time
        client.sendall(octets)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(100)
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert Browser(console.port).get("/sign-in").status == 200
    assert not console.events("internal_error")


class NotedConnection(connection_bounds.BoundedConnection):
    """A connection that tells of its beginning."""

    begun = asyncio.Queue[None]()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.begun.put_nowait(None)


def new_connection() -> Callable[[], NotedConnection]:
    """Return what makes the connections of a server in this process, which answers nothing."""

    async def app(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError("there was no request")

    config = uvicorn.Config(app, http=NotedConnection, lifespan="off")
    config.load()
    state = uvicorn.Server(config).server_state
    return lambda: NotedConnection(config, state, {})


async def test_a_slow_request_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_bounds, "_REQUEST", 0.05)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(new_connection(), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    async with asyncio.timeout(HANG):
        assert await reader.read() == b""
    writer.close()
    listening.close()


async def test_a_client_with_many_connections_loses_its_own(
    monkeypatch: pytest.MonkeyPatch, sockets: Path
) -> None:
    monkeypatch.setattr(connection_bounds, "_REQUEST", 10 * HANG)
    monkeypatch.setattr(connection_bounds, "MOST", 3)
    loop, begun = asyncio.get_running_loop(), asyncio.Queue[None]()
    monkeypatch.setattr(NotedConnection, "begun", begun)
    new, path = new_connection(), sockets / "console"
    local = await loop.create_unix_server(new, path)
    listening = await loop.create_server(new, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with asyncio.timeout(HANG), AsyncExitStack() as stack:
        stack.callback(local.close)
        stack.callback(listening.close)
        oldest, to_oldest = await asyncio.open_unix_connection(path)
        stack.callback(to_oldest.close)
        await begun.get()
        clients = list[asyncio.StreamReader]()
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            await begun.get()
            clients.append(reader)
        assert await clients[0].read() == b""
        to_oldest.write(b"no request\r\n\r\n")
        assert b" 400 " in await oldest.readline()


def test_a_unix_socket_is_served(tmp_path: Path, sockets: Path) -> None:
    path = sockets / "console"
    listening = ("--console-interface", f"127.0.0.1,{path}")
    with (
        running(f"spool://{tmp_path}/spool", tmp_path, *listening),
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.settimeout(HANG)
        client.connect(str(path))
        client.sendall(b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


class LocalConnection(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(HANG)
        self.sock.connect(self.host)


class LocalBrowser(Browser):
    """A browser behind a proxy that connects to a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(0)
        self._path = path

    def connection(self) -> http.client.HTTPConnection:
        return LocalConnection(str(self._path), 80)


def test_behind_a_proxy_with_tls_the_cookie_is_secure_and_other_hosts_are_refused(
    tmp_path: Path, sockets: Path
) -> None:
    path = sockets / "console"
    arguments = (
        *("--console-url", "https://mail.example.com", "--console-interface", str(path)),
        *("--console-user-header", "X-Remote-User"),
    )
    with running(f"spool://{tmp_path}/spool", tmp_path, *arguments) as console:
        ours = {"Host": "mail.example.com"}
        page = LocalBrowser(path).post(
            "/sign-in",
            headers={**ours, "Origin": "https://mail.example.com", "X-Forwarded-For": PROXY},
            name="ann",
            password="secret",
            next="/",
        )
        assert page.status == 303
        assert re.match(
            r"__Host-emailrelay=\S+; HttpOnly; Path=/; SameSite=strict; Secure",
            page.headers["set-cookie"],
        )
        assert page.headers["strict-transport-security"]
        assert console.events("console_login")[-1]["client"] == PROXY
        assert LocalBrowser(path).get("/sign-in", Host="evil.test").status == 421
        # The proxy has signed the user in.
        named = LocalBrowser(path)
        assert named.get("/queue", **ours, **{"X-Remote-User": "vic"}).status == 200
        assert "vic (viewer)" in named.get("/queue", **ours, **{"X-Remote-User": "vic"}).words
        for name in ("nobody", "api", "smtp", ""):
            strange = LocalBrowser(path).get("/queue", **ours, **{"X-Remote-User": name})
            assert strange.status == 303
        # Another user at the same browser is not the one before.
        assert "ann (operator)" in named.get("/queue", **ours, **{"X-Remote-User": "ann"}).words
        assert named.get("/queue", **ours).status == 303
        # The error page for an unusable users file has its style sheet.
        console.auth.write_text("server plain ann\n")
        for place, status in (("/queue", 503), ("/static/style.css", 200)):
            page = named.get(place, **ours, **{"X-Remote-User": "ann"})
            assert page.status == status


def test_a_header_of_others_names_no_user(console: RunningConsole, tmp_path: Path) -> None:
    assert Browser(console.port).get("/queue", **{"X-Remote-User": "ann"}).status == 303
    arguments = ("--console-user-header", "X-Remote-User", "--console-proxies", PROXY)
    with running(f"spool://{tmp_path}/spool", tmp_path, *arguments) as other:
        assert Browser(other.port).get("/queue", **{"X-Remote-User": "ann"}).status == 303


def pss(pid: int) -> int:
    """Return the memory of a process in KiB: its own, and its share of what others use too."""
    found = re.search(
        r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
    )
    assert found is not None
    return int(found[1])


def test_an_idle_console_takes_at_most_60_mib(console: RunningConsole) -> None:
    browser = console.browser("ann")
    for path in ("/", "/queue", "/queue?by=reply"):
        assert browser.get(path).status == 200
    assert pss(console.process.pid) <= 60 * 1024
