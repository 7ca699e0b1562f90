"""The command ``emailrelay-receiver`` as a real process."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.service.receiving import HANG, Peer, receiving

from emailrelay.listening import Listeners, written
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store

COMMAND = "import sys; from emailrelay_receiver.cli import main; sys.exit(main())"
MIB = 1024 * 1024


async def start(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMAND, *arguments, "--log-format", "json", stdout=PIPE, stderr=PIPE
    )


async def address(process: Process) -> str:
    """Give where the process says that it listens, once it serves."""
    assert process.stdout is not None
    found: str = ""
    async with asyncio.timeout(HANG):
        while True:
            event = json.loads(await process.stdout.readline())
            found = str(event.get("address", found))
            if event["event"] == "started":
                return found


@asynccontextmanager
async def receiver(*arguments: str) -> AsyncGenerator[tuple[Process, str]]:
    process = await start(*arguments)
    try:
        yield process, await address(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def connect(place: str) -> Peer:
    host, _, port = place.rpartition(":")
    return Peer(*await asyncio.open_connection(host.strip("[]"), int(port)))


async def send_mail(peer: Peer, chunk: bytes = b"text\r\n", count: int = 1) -> str:
    await peer.to_data()
    for _ in range(count):
        peer.send(chunk)
        await peer.writer.drain()
    return await peer.ask(".")


def memory(process: Process, what: str) -> int:
    """Give a figure of /proc/PID/status in octets."""
    match = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_mail_is_taken_in_and_the_end_is_clean(tmp_path: Path, workers: str) -> None:
    spool = tmp_path / "spool"
    arguments = ("--interface", "127.0.0.1", "--port", "0", "--spool-dir", str(spool))
    async with receiver(*arguments, "--workers", workers) as (process, place):
        peer = await connect(place)
        assert (await send_mail(peer)).startswith("250 2.0.0 Ok: queued as ")
        process.send_signal(signal.SIGTERM)
        assert (await peer.reply()).startswith("421 4.3.2 ")
        async with asyncio.timeout(HANG):
            assert await process.wait() == 0
        peer.writer.close()
    assert len(list(spool.glob("emailrelay.*.envelope"))) == 1
    (content,) = spool.glob("emailrelay.*.content")
    assert content.read_bytes().endswith(b"\r\ntext\r\n")


async def test_second_worker_serves_the_clients_of_one_that_hangs(tmp_path: Path) -> None:
    arguments = ("--interface", "127.0.0.1", "--port", "0", "--spool-dir", str(tmp_path / "spool"))
    async with receiver(*arguments, "--workers", "2") as (process, place):
        first = _first_child(process)
        os.kill(first, signal.SIGSTOP)
        async with asyncio.timeout(HANG):
            for _ in range(3):
                peer = await connect(place)
                assert (await send_mail(peer)).startswith("250 ")
                peer.writer.close()
        os.kill(first, signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(HANG):
            assert await process.wait() == 0


def _first_child(process: Process) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return int(children.split()[0])


async def test_a_receiver_that_stops_while_a_dot_is_unanswered_names_the_duplicate(
    tmp_path: Path,
) -> None:
    spool = tmp_path / "spool"
    arguments = ("--interface", "127.0.0.1", "--port", "0", "--spool-dir", str(spool))
    async with (
        receiver(*arguments, "--ack", "delivered") as (process, place),
        open_store(spool, report=lambda _: None) as store,
        store.feed(Stage.READY) as feed,
    ):
        peer = await connect(place)
        await peer.to_data()
        peer.send(b"text\r\n.\r\n")
        async with asyncio.timeout(HANG):
            claim = await feed.claim()
        async with claim:
            assert await claim.before_dot("mx.test:25")
            process.send_signal(signal.SIGTERM)
            assert (await peer.reply()).startswith("451 4.4.0 ")
            output, _ = await asyncio.wait_for(process.communicate(), HANG)
        peer.writer.close()
    told = [json.loads(line) for line in output.splitlines()]
    named = [line for line in told if line["event"] == "possible_duplicate"]
    assert [(line["id"], line["peer"]) for line in named] == [(claim.id, "mx.test:25")]


async def test_a_message_of_50_mib_costs_little_memory(tmp_path: Path) -> None:
    arguments = ("--interface", "127.0.0.1", "--port", "0", "--spool-dir", str(tmp_path / "spool"))
    async with receiver(*arguments) as (process, place):
        # The first message pays for one-time loading and allocation.
        first, second, third = [await connect(place) for _ in range(3)]
        assert (await send_mail(first, b"x" * 998 + b"\r\n", 1000)).startswith("250")
        before = memory(process, "VmHWM")
        assert (await send_mail(second, (b"x" * 70 + b"\r\n") * 14_563, 50)).startswith("250")
        assert memory(process, "VmHWM") - before <= 8 * MIB
        # Empty lines, for which aiosmtpd takes 3 GiB.
        assert (await send_mail(third, b"\r\n" * (MIB // 2), 30)).startswith("250")
        assert memory(process, "VmHWM") - before <= 16 * MIB
        for peer in (first, second, third):
            peer.writer.close()


async def test_a_session_of_many_messages_costs_no_memory(tmp_path: Path) -> None:
    arguments = ("--interface", "127.0.0.1", "--port", "0", "--spool-dir", str(tmp_path / "spool"))
    async with receiver(*arguments) as (process, place):
        peer = await connect(place)
        await send_mail(peer)
        commands = b"MAIL FROM:<s@x>\r\nRCPT TO:<r@y>\r\nDATA\r\ntext\r\n.\r\n"

        async def again(count: int) -> None:
            for _ in range(count):
                peer.send(commands)
                assert [(await peer.reply())[:3] for _ in range(4)] == ["250", "250", "354", "250"]

        await again(100)
        before = memory(process, "VmHWM")
        await again(1000)
        assert memory(process, "VmHWM") - before <= 5 * MIB
        peer.writer.close()


async def test_a_port_in_use_is_said_clearly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = await start("--store", "memory:", "--interface", "127.0.0.1", "--port", port)
        _, errors = await process.communicate()
    assert process.returncode == 69
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in errors.decode()


async def test_a_unix_socket_serves_and_goes_with_the_service(sockets: Path) -> None:
    path = sockets / "smtp"
    async with receiver("--store", "memory:", "--interface", str(path)) as (process, place):
        assert place == str(path)
        peer = Peer(*await asyncio.open_unix_connection(path))
        assert (await send_mail(peer)).startswith("250 ")
        process.terminate()
        async with asyncio.timeout(HANG):
            assert await process.wait() == 0
        peer.writer.close()
    assert not path.exists()


def test_all_addresses_share_one_port() -> None:
    listeners = Listeners()
    listeners.open([], 0)
    try:
        ports = {written(opened).rpartition(":")[2] for opened in listeners.sockets}
        assert len(ports) == 1
    finally:
        listeners.close()


def test_an_inherited_socket_is_used_and_a_stale_path_replaced(sockets: Path) -> None:
    path = sockets / "stale"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    inherited = socket.create_server(("127.0.0.1", 0))
    place = written(inherited)
    listeners = Listeners()
    listeners.open([f"fd#{inherited.detach()}", str(path)], 25)
    try:
        assert [written(opened) for opened in listeners.sockets] == [place, str(path)]
    finally:
        listeners.close()


def test_no_copy_of_a_listening_socket_lets_accepts_wait(sockets: Path) -> None:
    # All copies share one mode: see ``_prepared`` in ``listening.py``.
    inherited = socket.create_server(("127.0.0.1", 0))
    listeners = Listeners()
    listeners.open(["127.0.0.1", f"fd#{inherited.detach()}", str(sockets / "one")], 0)
    try:
        for opened in listeners.sockets:
            with opened.dup() as copy:
                assert not os.get_blocking(copy.fileno())
    finally:
        listeners.close()


async def test_a_worker_that_starts_does_not_let_the_accepts_of_others_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    modes, copy_of = list[bool](), socket.socket.dup

    def noted(listening: socket.socket) -> socket.socket:
        copy = copy_of(listening)
        modes.append(os.get_blocking(listening.fileno()))
        return copy

    monkeypatch.setattr(socket.socket, "dup", noted)
    async with receiving() as running, running.client() as peer:
        assert (await peer.reply()).startswith("220")
    assert modes
    assert not any(modes)


def test_replies_do_not_wait_for_each_other_s_acknowledgement() -> None:
    inherited = socket.create_server(("127.0.0.1", 0))
    listeners = Listeners()
    listeners.open(["127.0.0.1", f"fd#{inherited.detach()}"], 0)
    try:
        for opened in listeners.sockets:
            with socket.create_connection(opened.getsockname()):
                opened.settimeout(HANG)
                connection, _ = opened.accept()
                with connection:
                    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        listeners.close()


@pytest.mark.parametrize(
    ("arguments", "stage"), [(["--filter", "exit:0"], Stage.UNFILTERED), ([], Stage.READY)]
)
async def test_programs_that_submit_directly_enter_where_the_receiver_says(
    tmp_path: Path, arguments: list[str], stage: Stage
) -> None:
    spool = tmp_path / "spool"
    where = ["--interface", "127.0.0.1", "--port", "0", "--spool-dir", str(spool)]
    async with receiver(*where, *arguments) as (_, place):
        peer = await connect(place)
        assert (await peer.reply()).startswith("220")
        peer.writer.transport.abort()
        async with open_store(spool, report=lambda _: None) as store:
            assert await store.entrance() is stage
