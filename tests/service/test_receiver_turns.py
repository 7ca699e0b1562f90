"""Sessions wait for few turns of the event loop, and start few tasks."""

import asyncio
import contextlib
import socket

import pytest
import uvloop
from tests.service.receiving import HANG, receiving

from emailrelay_receiver.session.session import SmtpSession

LOOP_FACTORIES = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
"""Whose ways of accepting differ."""


async def test_several_connections_are_accepted_in_a_turn() -> None:
    turns, clients = 0, 8
    async with receiving() as running:
        with contextlib.ExitStack() as waiting:
            for _ in range(clients):
                client = socket.create_connection(("127.0.0.1", running.port))
                waiting.enter_context(client)
            async with asyncio.timeout(HANG):
                while running.context.admission.total < clients:
                    await asyncio.sleep(0)
                    turns += 1
    assert turns < clients


async def test_a_task_starts_only_for_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = 0
    serve = SmtpSession.serve

    async def counted(self: SmtpSession) -> None:
        nonlocal tasks
        tasks += 1
        await serve(self)

    monkeypatch.setattr(SmtpSession, "serve", counted)
    async with receiving() as running, running.client() as peer:
        await peer.to_data()
        assert tasks == 0
        assert (await peer.ask("Subject: x\r\n\r\ntext\r\n.")).startswith("250")
        assert tasks == 1
        assert (await peer.ask("QUIT")).startswith("221")
        assert await peer.closed()
        await running.empty()
    assert tasks == 1


async def test_a_client_that_leaves_without_a_word_ends_its_session() -> None:
    async with receiving() as running:
        async with running.client() as peer:
            await peer.reply()
            assert running.receiver.state().sessions == 1
        await running.empty()
        assert running.receiver.state().sessions == 0


async def test_a_client_that_resets_the_connection_in_its_content_ends_its_session() -> None:
    async with receiving() as running:
        async with running.client() as peer:
            await peer.to_data()
            peer.send(b"Subject: x\r\n")
            peer.reset()
        await running.empty()
        assert running.mail() == []


async def test_the_end_of_the_service_spares_a_connection_that_is_closed_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sessions: list[SmtpSession] = []
    connected = SmtpSession.connected

    def noted(self: SmtpSession) -> None:
        sessions.append(self)
        connected(self)

    monkeypatch.setattr(SmtpSession, "connected", noted)
    async with receiving() as running:
        async with running.client() as peer:
            await peer.reply()
            (session,) = sessions
            session.wire.abort()
            for _ in range(4):  # uvloop closes the handle a turn later
                await asyncio.sleep(0)
                session.wind_up()
        await running.empty()
