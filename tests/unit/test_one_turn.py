"""Work that is done once for all that one turn of the event loop does."""

import asyncio
import json
from pathlib import Path
from typing import BinaryIO

import pytest

from emailrelay.config import LogFormat
from emailrelay.events.event import Level, Report
from emailrelay.events.receiving import Received
from emailrelay.events.service import Stopping
from emailrelay.logs import LogLine, Render, line_reporter, renderer
from emailrelay.own_pid import own_pid
from emailrelay.queue_id import QueueId
from emailrelay.running_loop import running_loop
from emailrelay.store.spool.message.once_a_turn import OnceATurn
from emailrelay.turn_end import at_turn_end


def _received(number: int) -> Received:
    return Received(id=QueueId(f"1.1.{number}"), size=1, client="127.0.0.1")


def _reporter(log: BinaryIO, render: Render, *, timed: bool) -> Report:
    return line_reporter(
        service="receiver",
        render=render,
        timed=timed,
        least=Level.INFO,
        descriptor=log.fileno(),
    )


async def test_lines_of_one_turn_are_written_at_its_end_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as log:
        report = _reporter(log, renderer(LogFormat.JSON), timed=False)
        for number in range(3):
            report(_received(number))
        assert path.read_bytes() == b""
        await asyncio.sleep(0)
        ids = [json.loads(line)["id"] for line in path.read_text().splitlines()]
        assert ids == ["1.1.0", "1.1.1", "1.1.2"]
        report(_received(3))
        report(Stopping(service="receiver"))
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["event"] for line in lines[3:]] == ["received", "stopping"]
        assert {line["pid"] for line in lines} == {own_pid()}


async def test_line_that_waits_is_made_at_the_end_of_the_turn(tmp_path: Path) -> None:
    made: list[str] = []

    def render(_logger: object, _name: str, line: LogLine) -> str:
        made.append(str(line["event"]))
        return made[-1]

    with (tmp_path / "log").open("wb") as log:
        report = _reporter(log, render, timed=True)
        report(_received(1))
        assert made == []
        await asyncio.sleep(0)
        assert made == ["received"]


async def test_many_lines_of_one_turn_are_written_in_parts_and_in_their_order(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    with path.open("wb") as log:
        report = _reporter(log, renderer(LogFormat.JSON), timed=True)
        for number in range(200):
            report(_received(number))
        await asyncio.sleep(0)
        ids = [json.loads(line)["id"] for line in path.read_text().splitlines()]
        assert ids == [f"1.1.{number}" for number in range(200)]


def test_renderer_that_reports_does_not_stop_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"

    def render(_logger: object, _name: str, line: LogLine) -> str:
        if line["event"] == "received":
            report(Stopping(service="receiver"))
        return str(line["event"])

    with path.open("wb") as log:
        report = _reporter(log, render, timed=False)
        report(_received(1))
        assert path.read_text().split() == ["stopping", "received"]


def test_line_without_a_loop_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as log:
        report = _reporter(log, renderer(LogFormat.JSON), timed=False)
        report(_received(1))
        assert json.loads(path.read_text())["id"] == "1.1.1"


async def test_passed_check_holds_for_one_turn_of_the_loop() -> None:
    once = OnceATurn()
    assert not once.passed
    once.note()
    assert once.passed
    await asyncio.sleep(0)
    assert not once.passed


async def test_check_that_passes_in_a_thread_is_not_remembered() -> None:
    once = OnceATurn()
    await asyncio.to_thread(once.note)
    assert not once.passed


def test_each_loop_is_known_while_it_runs() -> None:
    async def known() -> bool:
        return running_loop() is running_loop() is asyncio.get_running_loop()

    assert asyncio.run(known())
    with pytest.raises(RuntimeError):
        running_loop()
    assert asyncio.run(known())


async def test_work_for_the_end_of_a_turn_is_done_then_or_in_a_thread_at_once() -> None:
    done = list[str]()
    at_turn_end(lambda: done.append("turn"))
    await asyncio.to_thread(at_turn_end, lambda: done.append("thread"))
    assert sorted(done) == ["thread", "turn"]
