"""Connections to milters: kept, shared and replaced."""

import asyncio

from tests.fakes.filter_servers import serving
from tests.fakes.milters import ScriptedMilter, packet
from tests.service.milters.milter_desk import DEADLINE, ENVELOPE, Desk

from emailrelay.filters.verdict import Accept, Reject


async def test_connection_serves_the_next_message(desk: Desk) -> None:
    script = ScriptedMilter()
    async with serving(script) as place:
        for _ in range(3):
            assert await desk.run(f"milter:{place}") == Accept()
    assert script.connections == 1
    assert script.steps_heard == "OCHMRRTLLNBE" + 2 * "AMRRTLLNBE"


async def test_another_client_gets_another_connection(desk: Desk) -> None:
    script = ScriptedMilter()
    async with serving(script) as place:
        for client in ("192.0.2.7", "192.0.2.8", "192.0.2.7"):
            copy = desk.copy(envelope=ENVELOPE._replace(client=client))
            assert await desk.run(f"milter:{place}", copy=copy) == Accept()
    assert script.connections == 2
    assert len(script.told(b"C")) == 2


async def test_idle_connections_are_few(desk: Desk) -> None:
    script = ScriptedMilter()
    async with serving(script) as place:
        for n in range(20):
            copy = desk.copy(envelope=ENVELOPE._replace(client=f"192.0.2.{n}"))
            assert await desk.run(f"milter:{place}", copy=copy) == Accept()
        async with asyncio.timeout(DEADLINE):
            await script.until(b"Q", 4)
    assert len(script.told(b"Q")) == 4


async def test_message_can_follow_one_that_was_rejected_early(desk: Desk) -> None:
    script = ScriptedMilter({b"R": packet(b"r")})
    async with serving(script) as place:
        for _ in range(2):
            assert isinstance(await desk.run(f"milter:{place}"), Reject)
    assert script.steps_heard == "OCHMRRAMRR"


async def test_verdict_on_a_client_ends_the_connection(desk: Desk) -> None:
    script = ScriptedMilter({b"C": packet(b"a")})
    async with serving(script) as place:
        for _ in range(2):
            assert await desk.run(f"milter:{place}") == Accept()
    assert script.connections == 2


async def test_kept_connection_that_its_milter_closes_is_replaced(desk: Desk) -> None:
    script = ScriptedMilter(answers={b"A": None})
    async with serving(script) as place:
        for _ in range(3):
            assert await desk.run(f"milter:{place}") == Accept()
    assert script.connections == 3


async def test_messages_at_the_same_time_have_a_connection_each(desk: Desk) -> None:
    script = ScriptedMilter()
    async with serving(script) as place:
        verdicts = await asyncio.gather(*(desk.run(f"milter:{place}") for _ in range(4)))
    assert verdicts == [Accept()] * 4
    assert script.connections == 4
