"""docs/queue.md: each printed command runs, and each printed output is that of the program."""

import asyncio
import re
import shlex
import time
from pathlib import Path

import pytest
from tests.acceptance.pages import blocks
from tests.acceptance.relay import ROOT

from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import Event
from emailrelay.journal import Attempt
from emailrelay.queue import render
from emailrelay.queue.cli import main
from emailrelay.queue.grouping import Grouping, MessageGroup
from emailrelay.queue.health import HealthLimits, Limits, health_line, measures
from emailrelay.queue.row import QueueRow
from emailrelay.queue.state import State
from emailrelay.queue.totals import Totals
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Fail
from emailrelay.stage import Stage
from emailrelay.store.spool.store import SpoolStore
from emailrelay.terminal.window import Window

PAGE = ROOT / "docs" / "queue.md"
NOW = 1_700_000_000.0
TERMINAL = Window(width=80, colours=False, ellipsis="…", arrow="→")
LISTED, GROUPS, CHECKED = (block.rstrip("\n") for block in blocks(PAGE, "text"))
NEEDS_MORE = ("export", "import")
"""Commands whose arguments are places of this host or a database: ``test_move`` runs them."""
COMMANDS = [
    line.partition(" #")[0].strip()
    for block in blocks(PAGE, "")
    for line in block.splitlines()
    if line.split()[1] not in NEEDS_MORE
]
EXAMPLE_ID = "1795347486274.3124025358502.2"
SETTINGS = 'forward_to = "smart.test:25"\n'


def test_list_looks_as_printed() -> None:
    ann, bob = Address("ann@example.com"), Address("bob@example.org")
    others = (Address("b@example.org"), Address("c@example.org"))
    rows = [
        QueueRow(
            id=QueueId("1795347486274.31240253585.2"),
            state=State.DEFERRED,
            arrived=NOW - 7200,
            size=12 * 1024,
            sender=ann,
            recipients=(bob, *others),
            pending=(bob, others[0]),
            attempts=5,
            next_attempt=NOW + 720,
            last_reply=(
                "451 4.7.1 <bob@example.org>: Recipient address rejected: Greylisted for 297 s"
            ),
        ),
        QueueRow(
            id=QueueId("1795354680112.31240253585.9"),
            state=State.HELD,
            arrived=NOW - 180,
            size=443,
            sender=Address(""),
            recipients=(Address("carol@example.net"),),
            pending=(Address("carol@example.net"),),
        ),
    ]
    assert "\n".join(render.rows_on(TERMINAL, rows, NOW)) == LISTED


def test_groups_look_as_printed() -> None:
    def group(
        text: str, messages: int, octets: int, age: float, later: float | None
    ) -> MessageGroup:
        return MessageGroup(
            by=Grouping.REPLY,
            group=text,
            messages=messages,
            octets=octets,
            oldest=NOW - age,
            next_attempt=None if later is None else NOW + later,
        )

    greylisted = "451 4.7.1 <…>: Recipient address rejected: Greylisted for … seconds"
    groups = [
        group(greylisted, 412, 6_400_000, 3 * 86400, 720),
        group("451 4.4.1 …: connection refused", 17, 83_000, 7200, 240),
        group("", 3, 1200, 300, None),
    ]
    wide = TERMINAL._replace(width=None)
    assert "\n".join(render.groups_on(wide, groups, NOW)) == GROUPS


def test_check_prints_as_printed() -> None:
    totals = {name: Totals() for name in ("unfiltered", "ready", "deferred", "held", "failed")}
    totals |= {"deferred": Totals(3, 10, NOW - 1200), "held": Totals(1, 10, NOW)}
    limits = HealthLimits(
        oldest=Limits(900, 3600), waiting=Limits(), failed=Limits(0, None), free=Limits(10, 5)
    )
    gib = 1024**3
    assert health_line(measures(totals, (45 * gib, 100 * gib), limits, NOW)) == CHECKED


async def fill(spool: Path) -> list[QueueId]:
    """Put in what the page's commands choose: deferred, failed and held mail, some of it old."""

    def nothing(_event: Event) -> None: ...

    now, messages = time.time(), list[QueueId]()
    reply = Reply(451, "4.7.1 <b@y.test>: Recipient address rejected: Greylisted for 9 seconds")
    old = now - 40 * 86400
    async with SpoolStore(spool, report=nothing, clock=lambda: old) as store:
        to = (Address("bob@example.com"),)
        for sender in ("ann@example.com", "ann@example.com", "newsletter@x.test", "x@y.test"):
            async with store.draft(Envelope(sender=Address(sender), to_remote=to)) as draft:
                draft.write(b"Subject: x\r\n\r\nx\r\n")
                await draft.commit(Stage.READY)
            messages.append(draft.id)
        attempt = Attempt(at=now, peer="mx", trouble=reply, next_attempt=now + 900)
        for message, settlement in ((messages[0], Defer(attempt)), (messages[1], Fail(reply))):
            claim = await store.claim(Stage.READY, message, due_only=False)
            assert claim is not None
            async with claim:
                await claim.settle(settlement)
        await store.hold(messages[3])
    return messages


@pytest.mark.parametrize("command", COMMANDS)
def test_each_printed_command_runs(
    tmp_path: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    messages = asyncio.run(fill(tmp_path / "spool"))
    config = tmp_path / "relay.toml"
    config.write_text(SETTINGS)
    monkeypatch.setenv("EMAILRELAY_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("EMAILRELAY_CONFIG", str(config))
    before, _, _ = re.sub(r"/etc/\S+\.toml", str(config), command).partition(" | ")
    words = shlex.split(before.partition(" > ")[0].replace(EXAMPLE_ID, messages[0]))
    assert words[0] == "emailrelay-queue"
    status = main(words[1:])
    told = capsys.readouterr()
    assert status in ((2, 1) if words[1] == "check" else (0,)), told.err
    assert told.out
    assert told.err == ""


def test_the_page_has_its_commands() -> None:
    assert {command.split()[1] for command in COMMANDS} >= {
        "list", "show", "cat", "stats", "check", "hold", "release", "retry", "flush", "delete",
        "verify", "route",
    }  # fmt: skip
