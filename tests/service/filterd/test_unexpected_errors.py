"""Errors that no filter should raise: the message waits, and filterd goes on with others."""

import pytest
from tests.service.filterd.filter_bench import Bench

from emailrelay.events.filters import FilterTrouble, Passed
from emailrelay.events.service import InternalError
from emailrelay.filters import chain, editing
from emailrelay.stage import Stage


async def test_bug_in_a_filter_holds_back_its_message_and_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("surprise")

    message = await bench.put()
    async with bench.filterd("exit:0", "msgid:"):
        with monkeypatch.context() as patch:
            patch.setattr(editing, "add_message_id", broken)
            await bench.tried(message)
            (trouble,) = await bench.after(FilterTrouble)
            (bug,) = await bench.after(InternalError)
        await bench.put()
        await bench.after(Passed)
    assert isinstance(trouble, FilterTrouble)
    assert (trouble.filter, trouble.reason) == ("msgid:", "internal error: ValueError('surprise')")
    assert isinstance(bug, InternalError)
    assert bug.doing == f"filtering {message}"
    assert "in broken\n" in bug.reason
    assert await bench.stage(message) is Stage.UNFILTERED


async def test_bug_behind_the_last_filter_holds_back_its_message(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise KeyError("surprise")

    monkeypatch.setattr(chain, "_problem", broken)
    message = await bench.put()
    async with bench.filterd("msgid:"):
        await bench.after(InternalError)
    assert await bench.stage(message) is Stage.UNFILTERED


async def test_message_waits_if_no_thread_can_be_started(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(editing, "add_message_id", full)
    message = await bench.put()
    async with bench.filterd("msgid:"):
        await bench.tried(message)
        (trouble,) = await bench.after(FilterTrouble)
    assert isinstance(trouble, FilterTrouble)
    assert trouble.reason.startswith("no thread can be started")
    assert not [event for event in bench.events if isinstance(event, InternalError)]
    assert await bench.stage(message) is Stage.UNFILTERED
