"""Announcements go together, and reach whoever was too busy to hear them."""

import asyncio
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.contract.conftest import SpoolOpener
from tests.contract.mail import PATIENCE, attempt, next_of, put

from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import names
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.wake.bell import LONGEST, Bell, socket_path
from emailrelay.store.spool.wake.doorbell import HintSocket
from emailrelay.store.spool.wake.ringer import Ringer

MORE_THAN_A_SOCKET_HOLDS = 600
"""net.unix.max_dgram_qlen is 10, or 512 where systemd runs."""


def ids(count: int) -> list[QueueId]:
    return [QueueId(f"1.1.{number}") for number in range(count)]


@contextmanager
def listener(directory: Path) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        held = Directory(str(directory))
        sock.bind(socket_path(held, "ready.listener"))
        sock.settimeout(PATIENCE)
        yield sock


async def test_what_a_turn_of_the_loop_makes_ready_is_one_datagram(tmp_path: Path) -> None:
    ringer = Ringer(Bell(Directory(str(tmp_path))))
    ringer.serve(asyncio.get_running_loop())
    with listener(tmp_path) as sock:
        for message in ids(20):
            ringer.ring(Stage.READY, message)
        datagram = await asyncio.to_thread(sock.recv, LONGEST)
    assert datagram.decode().splitlines() == [f"{message} 0.0" for message in ids(20)]
    ringer.close()


async def test_what_is_put_off_is_told_at_once(tmp_path: Path) -> None:
    ringer = Ringer(Bell(Directory(str(tmp_path))))
    ringer.serve(asyncio.get_running_loop())
    with listener(tmp_path) as sock:
        ringer.ring(Stage.READY, QueueId("1.1.1"), due=4e9)
        assert sock.recv(LONGEST) == b"1.1.1 4000000000.0\n"
    ringer.close()


async def test_somebody_too_busy_is_told_again_without_another_ring(tmp_path: Path) -> None:
    ringer, heard, all_heard = (
        Ringer(Bell(Directory(str(tmp_path)))),
        list[QueueId](),
        asyncio.Event(),
    )
    last = QueueId("1.1.999")

    def hear(message: QueueId, _due: float) -> None:
        heard.append(message)
        if message == last:
            all_heard.set()

    ear = HintSocket(Directory(str(tmp_path)), "ready", hear)
    ear.open()
    for message in ids(MORE_THAN_A_SOCKET_HOLDS):
        ringer.ring(Stage.READY, message)  # one by one: no loop is served yet
    ringer.serve(asyncio.get_running_loop())
    ringer.ring(Stage.READY, last)
    async with asyncio.timeout(PATIENCE):
        await all_heard.wait()
    assert heard == [*ids(MORE_THAN_A_SOCKET_HOLDS), last]
    ear.close()
    ringer.close()


async def test_who_has_missed_very_much_is_asked_to_look(tmp_path: Path) -> None:
    bell, heard, asked = Bell(Directory(str(tmp_path))), list[QueueId](), asyncio.Event()
    ear = HintSocket(
        Directory(str(tmp_path)), "ready", lambda message, _due: heard.append(message), asked.set
    )
    ear.open()
    for _ in range(600):
        bell.ring(Stage.READY, *ids(600))
    assert bell.missed
    assert not asked.is_set()
    while bell.missed:
        ear.hear()
        bell.ring_again()
    ear.hear()
    assert asked.is_set()
    ear.close()
    bell.close()


async def test_what_an_ear_was_too_full_to_hear_is_due_at_a_wake(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = await put(store)
        async with store.feed(Stage.READY) as feed:
            claim = await next_of(feed)
            others = Bell(Directory(str(spool.directory / names.WAKE)))
            for other in ids(MORE_THAN_A_SOCKET_HOLDS):
                others.ring(Stage.READY, other, due=4e9)
            await claim.settle(Defer(attempt(time.time(), next_attempt=time.time() + 1000)))
            feed.wake()
            async with await next_of(feed) as again:
                assert again.id == message
            others.close()


def test_path_in_the_place_of_a_sockets_name_leads_out_of_no_directory(tmp_path: Path) -> None:
    wake, file = tmp_path / "wake", tmp_path / "file"
    wake.mkdir()
    file.touch()
    bell = Bell(Directory(str(wake)))
    bell.ring_at("../file", QueueId("1.1.1"))
    assert file.exists()
    bell.close()
