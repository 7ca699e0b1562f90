"""Announcements go together, and reach listeners that were too busy for them."""

import asyncio
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import PATIENCE, attempt, next_of, put

from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import names
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.wake.announcer import Announcer
from emailrelay.store.spool.wake.hint_sender import LONGEST, HintSender, socket_path
from emailrelay.store.spool.wake.hint_socket import HintSocket

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
    announcer = Announcer(HintSender(Directory(str(tmp_path))))
    announcer.serve(asyncio.get_running_loop())
    with listener(tmp_path) as sock:
        for message in ids(20):
            announcer.announce(Stage.READY, message)
        datagram = await asyncio.to_thread(sock.recv, LONGEST)
    assert datagram.decode().splitlines() == [f"{message} 0.0" for message in ids(20)]
    announcer.close()


async def test_answers_of_a_turn_of_the_loop_are_one_datagram(tmp_path: Path) -> None:
    announcer = Announcer(HintSender(Directory(str(tmp_path))))
    announcer.serve(asyncio.get_running_loop())
    answers = [f"{message} 250 2.0.0 Ok" for message in ids(20)]
    with listener(tmp_path) as sock:
        telling = [announcer.tell_together("ready.listener", answer) for answer in answers]
        assert all(await asyncio.gather(*telling))
        assert sock.recv(LONGEST).decode().splitlines() == answers
    assert not await announcer.tell_together("ready.nobody", answers[0])
    announcer.close()


async def test_answers_that_fill_more_than_a_datagram_all_arrive(tmp_path: Path) -> None:
    announcer = Announcer(HintSender(Directory(str(tmp_path))))
    announcer.serve(asyncio.get_running_loop())
    answers = [f"{message} 250 {'x' * 1000}" for message in ids(9)]
    with listener(tmp_path) as sock:
        telling = [announcer.tell_together("ready.listener", answer) for answer in answers]
        assert all(await asyncio.gather(*telling))
        heard = sock.recv(LONGEST) + sock.recv(LONGEST)
    assert heard.decode().splitlines() == answers
    announcer.close()


async def test_answer_of_a_cancelled_call_is_sent(tmp_path: Path) -> None:
    announcer = Announcer(HintSender(Directory(str(tmp_path))))
    announcer.serve(asyncio.get_running_loop())
    with listener(tmp_path) as sock:
        telling = asyncio.create_task(announcer.tell_together("ready.listener", "1.1.1 250 Ok"))
        await asyncio.sleep(0)
        announcer.close()
        telling.cancel()
        assert sock.recv(LONGEST) == b"1.1.1 250 Ok\n"
    await asyncio.wait((telling,))


async def test_what_is_put_off_is_told_at_once(tmp_path: Path) -> None:
    announcer = Announcer(HintSender(Directory(str(tmp_path))))
    announcer.serve(asyncio.get_running_loop())
    with listener(tmp_path) as sock:
        announcer.announce(Stage.READY, QueueId("1.1.1"), due=4e9)
        assert sock.recv(LONGEST) == b"1.1.1 4000000000.0\n"
    announcer.close()


async def test_full_socket_gets_its_hints_later_without_another_call(tmp_path: Path) -> None:
    announcer, heard, all_heard = (
        Announcer(HintSender(Directory(str(tmp_path)))),
        list[QueueId](),
        asyncio.Event(),
    )
    last = QueueId("1.1.999")

    def hear(message: QueueId, _due: float) -> None:
        heard.append(message)
        if message == last:
            all_heard.set()

    hint_socket = HintSocket(Directory(str(tmp_path)), "ready", hear)
    hint_socket.open()
    for message in ids(MORE_THAN_A_SOCKET_HOLDS):
        announcer.announce(Stage.READY, message)  # one by one: no loop is served yet
    announcer.serve(asyncio.get_running_loop())
    announcer.announce(Stage.READY, last)
    async with asyncio.timeout(PATIENCE):
        await all_heard.wait()
    assert heard == [*ids(MORE_THAN_A_SOCKET_HOLDS), last]
    hint_socket.close()
    announcer.close()


async def test_owner_of_a_very_full_socket_is_asked_to_scan(tmp_path: Path) -> None:
    sender, heard, asked = HintSender(Directory(str(tmp_path))), list[QueueId](), asyncio.Event()
    hint_socket = HintSocket(
        Directory(str(tmp_path)), "ready", lambda message, _due: heard.append(message), asked.set
    )
    hint_socket.open()
    for _ in range(600):
        sender.send(Stage.READY, *ids(600))
    assert sender.missed
    assert not asked.is_set()
    while sender.missed:
        hint_socket.receive()
        sender.send_missed()
    hint_socket.receive()
    assert asked.is_set()
    hint_socket.close()
    sender.close()


async def test_what_a_socket_was_too_full_to_receive_is_due_at_a_wake(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = await put(store)
        async with store.feed(Stage.READY) as feed:
            claim = await next_of(feed)
            others = HintSender(Directory(str(spool.directory / names.WAKE)))
            for other in ids(MORE_THAN_A_SOCKET_HOLDS):
                others.send(Stage.READY, other, due=4e9)
            await claim.settle(Defer(attempt(time.time(), next_attempt=time.time() + 1000)))
            feed.wake()
            async with await next_of(feed) as again:
                assert again.id == message
            others.close()


def test_path_in_the_place_of_a_sockets_name_leads_out_of_no_directory(tmp_path: Path) -> None:
    wake, file = tmp_path / "wake", tmp_path / "file"
    wake.mkdir()
    file.touch()
    sender = HintSender(Directory(str(wake)))
    assert not sender.tell("../file", b"1.1.1 0.0\n")
    assert file.exists()
    sender.close()


def test_answer_waits_for_a_full_socket_that_gets_no_hints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emailrelay.store.spool.wake.first_sockets._MOST", 0)
    sender, answer = HintSender(Directory(str(tmp_path))), b"1.1.1 250 2.0.0 delivered\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.bind(str(tmp_path / "answers.1"))
        while not sender.missed:
            assert sender.tell("answers.1", answer)
        sender.announce(Stage.READY, [])
        assert sender.missed
        full.settimeout(5)
        full.recv(1 << 16)
        sender.send_missed()
        assert not sender.missed
    sender.close()
