"""A worker that stands by serves the clients that others leave waiting, and only these."""

import asyncio
import contextlib
import errno
import os
import socket

import pytest
from tests.service.receiving import receiving, send_mail
from tests.service.test_receiver_turns import LOOP_FACTORIES

from emailrelay.events.receiving import AcceptTrouble
from emailrelay.listening import Listeners
from emailrelay_receiver.receiver import Receiver
from emailrelay_receiver.seat import Seat, SessionCounts


@pytest.mark.parametrize("loop", LOOP_FACTORIES)
@pytest.mark.parametrize("of_the_first", [0, 1000])
def test_clients_who_wait_are_served(loop: str, of_the_first: int) -> None:
    async def served() -> None:
        async with receiving(seat=_second(of_the_first)) as running:
            for _ in range(3):
                async with running.client() as peer:
                    assert (await send_mail(peer)).startswith("250 ")
        assert len(running.mail()) == 3

    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop]) as runner:
        runner.run(served())


async def test_a_worker_with_few_sessions_gets_all_clients() -> None:
    counts, clients = SessionCounts(2), 8
    listeners = Listeners()
    async with receiving() as running, contextlib.AsyncExitStack() as opened:
        opened.callback(listeners.close)
        listeners.open(["127.0.0.1"], 0)
        port = listeners.sockets[0].getsockname()[1]
        for place in range(2):
            seat = Seat(counts, place, accept_at_once=1)
            worker = Receiver(running.context, listeners.sockets, seat)
            await opened.enter_async_context(worker)
        for _ in range(clients):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            opened.callback(writer.close)
            assert (await reader.readline()).startswith(b"220 ")
        assert list(counts.counts) == [clients, 0]


async def test_no_descriptors_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    accept, refusals = socket.socket.accept, [OSError(errno.EMFILE, os.strerror(errno.EMFILE))]

    def refused(self: socket.socket) -> tuple[socket.socket, object]:
        if refusals:
            raise refusals.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", refused)
    second = _second(1000)
    async with receiving(seat=second) as running, running.client() as peer:
        await running.until(AcceptTrouble)
        assert (await peer.reply()).startswith("220 ")


def _second(of_the_first: int) -> Seat:
    """Give the seat of a worker that stands by, while the first one has so many sessions."""
    counts = SessionCounts(2)
    counts.counts[0] = of_the_first
    return Seat(counts, 1, accept_at_once=1)
