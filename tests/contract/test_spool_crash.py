"""A process that dies, or a disk that fails, at any call of a message leaves only legal states."""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.contract.dying import ADDED, FILTERED, ORIGINAL, REROUTED
from tests.contract.mail import (
    ANN,
    BOB,
    ENVELOPE,
    NEVER,
    OK,
    can_claim,
    claimed,
    content_of,
    stages,
)

from emailrelay.envelope import Envelope
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.spool_sync import SpoolSync
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store

ROOT = Path(__file__).parents[2]
HANG = 500.0
"""Seconds for all runs of a scenario: some fork a hundred processes, ten times the usual need."""


@dataclass(frozen=True, slots=True)
class Run:
    """The remains of a run, as the next opener finds them."""

    told: bool
    spool: Path


def runs(scenario: str, mode: str, directory: Path, sync: SpoolSync) -> Iterator[Run]:
    command = [sys.executable, "-m", "tests.contract.dying", scenario, mode, str(directory), sync]
    subprocess.run(command, cwd=ROOT, check=True, timeout=HANG, stdin=subprocess.DEVNULL)
    spools = sorted(
        (path for path in directory.iterdir() if path.is_dir()), key=lambda p: int(p.name)
    )
    found = [Run(told=spool.with_suffix(".told").exists(), spool=spool) for spool in spools]
    assert len(found) > 3, "the calls were not seen"
    assert found[-1].told, "the last run meets nothing and comes to its end"
    yield from found


@dataclass(frozen=True, slots=True)
class Found:
    """One message as it is worked on after the crash."""

    stage: Stage
    envelope: Envelope
    history: History
    content: bytes


async def look(store: Store) -> list[Found]:
    """Claim everything, which also finishes work that had begun, and describe the messages."""
    for message, stage in (await stages(store)).items():
        await can_claim(store, message, stage)
    return [await _found(store, message, stage) for message, stage in (await stages(store)).items()]


async def _found(store: Store, message: QueueId, stage: Stage) -> Found:
    async with await claimed(store, message, stage) as claim:
        return Found(stage, claim.envelope, claim.history, await content_of(claim))


async def reopened(spool: Path) -> list[Found]:
    async with open_store(spool, report=lambda _: None) as store:
        assert list((spool / ".new").iterdir()) == [], "a draft is left over"
        found = await look(store)
        assert list((spool / ".work").iterdir()) == [], "a work copy is left over"
        return found


async def _check_commit(run: Run) -> None:
    found = await reopened(run.spool)
    assert len(found) <= 1
    assert found or not run.told
    for message in found:
        assert (message.stage, message.content) == (Stage.UNFILTERED, ORIGINAL)
        assert message.envelope == ENVELOPE


async def _check_adoption(run: Run, after: Stage, *, added_ones: int = 1) -> None:
    found = await reopened(run.spool)
    added = [message for message in found if message.content == ADDED]
    (message,) = [message for message in found if message.content != ADDED]
    if message.stage is after:
        assert (message.content, message.envelope) == (FILTERED, REROUTED)
        assert message.history.accepted_at is not None
        assert message.history.held is (after is Stage.HELD)
        assert message.history.refused == ({BOB: NEVER} if after is Stage.HELD else {})
        assert len(added) == added_ones
    else:
        assert (message.content, message.envelope) == (ORIGINAL, ENVELOPE)
        assert message.stage is Stage.UNFILTERED
        assert not run.told
        assert len(added) <= added_ones


async def _check_settlement(scenario: str, mode: str, run: Run) -> None:
    found = await reopened(run.spool)
    if scenario == "done":
        assert not (run.told and found)
        if run.told and mode == "fail":
            assert not list(run.spool.glob("emailrelay.*")), "a content is left over"
        assert all(message.stage is Stage.READY for message in found)
        return
    (message,) = found
    assert (message.content, message.envelope) == (ORIGINAL, ENVELOPE)
    before = Stage.UNFILTERED if scenario in ("pass", "refuse") else Stage.READY
    after = {
        "defer": Stage.READY,
        "fail": Stage.FAILED,
        "hold": Stage.HELD,
        "pass": Stage.READY,
        "refuse": Stage.READY,
    }
    if scenario == "refuse" and message.stage is Stage.READY:
        assert message.history.refused == {BOB: NEVER}
    assert message.stage in (before, after[scenario])
    if run.told:
        assert message.stage is after[scenario]
        assert scenario not in ("defer", "fail") or message.history.delivered == {ANN: OK}
    if message.stage is Stage.FAILED:
        assert message.history.failed is not None
        assert message.history.failed.reason == NEVER


@pytest.mark.timeout(2 * HANG)
@pytest.mark.parametrize("mode", ["kill", "fail"])
@pytest.mark.parametrize(
    ("scenario", "sync"),
    [
        *itertools.product(
            ("commit", "adopt", "replace", "done", "defer", "fail", "hold", "pass"), SpoolSync
        ),
        ("quarantine", SpoolSync.FILES),
        ("refuse", SpoolSync.LOG),
    ],
)
async def test_every_call_may_be_the_last(
    scenario: str, mode: str, sync: SpoolSync, tmp_path: Path
) -> None:
    for run in await asyncio.to_thread(lambda: list(runs(scenario, mode, tmp_path, sync))):
        try:
            if scenario == "commit":
                await _check_commit(run)
            elif scenario == "adopt":
                await _check_adoption(run, Stage.READY)
            elif scenario == "replace":
                await _check_adoption(run, Stage.READY, added_ones=0)
            elif scenario == "quarantine":
                await _check_adoption(run, Stage.HELD)
            else:
                await _check_settlement(scenario, mode, run)
        except AssertionError as error:
            error.add_note(f"{mode} at call {run.spool.name} of {scenario}")
            raise
