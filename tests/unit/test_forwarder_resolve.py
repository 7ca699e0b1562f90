"""Names are looked up in threads, of which there are few at a time."""

import asyncio
import socket
import threading

import pytest

from emailrelay_forwarder.session.resolve import resolve
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_error import SessionError


async def test_look_ups_wait_for_those_that_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, asked = threading.Event(), list[str]()

    def slowly(host: str, *_args: object, flags: int, **_more: object) -> object:
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "not numeric")
        asked.append(host)
        answers.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 25))]

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    lookups = asyncio.Semaphore(2)
    for number in range(2):  # their threads outlive them
        with pytest.raises(SessionError, match="no address"):
            await resolve(NextServer(f"{number}.test", "25"), limit=0.05, lookups=lookups)
    with pytest.raises(SessionError, match="no address"):
        await resolve(NextServer("late.test", "25"), limit=0.05, lookups=lookups)
    answers.set()
    found = await resolve(NextServer("last.test", "25"), limit=60, lookups=lookups)
    assert [str(address) for address in found] == ["192.0.2.1:25"]
    assert "late.test" not in asked
