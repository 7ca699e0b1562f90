"""Connections to filters: kept, shared and replaced."""

import asyncio
from pathlib import Path

import pytest
from tests.fakes.filter_servers import LineFilter, serving
from tests.service.network_filters.filter_server import DEADLINE, Desk, say_ok, trouble

from emailrelay.filters import connections
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.verdict import Accept, Verdict
from emailrelay.service.loop import loop_factory


async def test_connection_is_kept_for_the_next_message(desk: Desk) -> None:
    served = LineFilter(say_ok)
    async with serving(served) as place:
        for _ in range(3):
            assert (await desk.ask(f"net:{place}")).verdict == Accept()
        assert served.connections == 1


async def test_messages_at_the_same_time_have_a_connection_each(desk: Desk) -> None:
    all_here = asyncio.Barrier(3)

    async def meet(_path: Path) -> str:
        await all_here.wait()
        return "\n"

    served = LineFilter(meet)
    async with serving(served) as place:
        spoken = await asyncio.gather(*(desk.ask(f"net:{place}") for _ in range(3)))
        assert [one.verdict for one in spoken] == [Accept()] * 3
        assert (served.connections, served.most_at_once) == (3, 3)


async def test_filter_that_was_restarted_is_connected_to_again(desk: Desk, sockets: Path) -> None:
    place = sockets / "filter"
    async with serving(LineFilter(say_ok), place):
        assert (await desk.ask(f"net:{place}")).verdict == Accept()
    place.unlink(missing_ok=True)  # Python 3.13 does it
    again = LineFilter(say_ok)
    async with serving(again, place):
        assert (await desk.ask(f"net:{place}")).verdict == Accept()
        assert again.connections == 1


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(["ok\n", "", "ok\n"], id="closed at the question"),
        pytest.param(["ok\n552 unasked\n", "ok\n"], id="said more than was asked"),
    ],
)
async def test_kept_connection_of_no_more_use_is_replaced(desk: Desk, said: list[str]) -> None:
    answers = iter(said)

    async def answer(_path: Path) -> str:
        return next(answers)

    served = LineFilter(answer)
    async with serving(served) as place:
        assert (await desk.ask(f"net:{place}")).verdict == Accept()
        assert (await desk.ask(f"net:{place}")).verdict == Accept()
        assert served.connections == 2


async def test_fresh_connection_that_is_closed_is_trouble_and_no_loop(desk: Desk) -> None:
    async def close(_path: Path) -> str:
        return ""

    served = LineFilter(close)
    async with serving(served) as place:
        assert trouble(await desk.ask(f"net:{place}")) == "it closed the connection"
        assert served.connections == 1


async def test_answer_that_comes_too_late_is_not_taken_for_the_next_ones(desk: Desk) -> None:
    answers = iter([(2.0, "552 late\n"), (0.0, "ok\n")])

    async def answer(_path: Path) -> str:
        seconds, text = next(answers)
        await asyncio.sleep(seconds)
        return text

    served = LineFilter(answer)
    async with serving(served) as place:
        usual, desk.programs.limits = desk.programs.limits, ProgramLimits(timeout=0.5)
        assert trouble(await desk.ask(f"net:{place}")) == "no verdict within 0.5 s"
        desk.programs.limits = usual
        assert (await desk.ask(f"net:{place}")).verdict == Accept()
        assert served.connections == 2


def test_connection_is_kept_in_the_services_own_loop_too(tmp_path: Path) -> None:
    served = LineFilter(say_ok)

    async def ask_twice() -> list[Verdict]:
        async with Programs() as programs, serving(served) as place:
            there = Desk(tmp_path, programs)
            return [(await there.ask(f"net:{place}")).verdict for _ in range(2)]

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert runner.run(ask_twice()) == [Accept(), Accept()]
    assert served.connections == 1


async def test_unneeded_connection_is_closed_after_a_while(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE", 0.01)
    served = LineFilter(say_ok)
    async with serving(served) as place:
        await desk.ask(f"net:{place}")
        async with asyncio.timeout(DEADLINE):
            await served.closed.wait()
        assert (await desk.ask(f"net:{place}")).verdict == Accept()
