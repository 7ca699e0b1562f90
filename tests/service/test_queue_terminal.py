"""emailrelay-queue at a terminal: readable at 80 and at 40 columns, with any character set."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.service.terminal import Shown, at_terminal

from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import Event
from emailrelay.journal import Attempt
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Fail
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay.terminal.columns import cells

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
LONG = Address("a.very.long.local.part.indeed@subdomain.of.a.company.example.com")
BUSY = Reply(451, "4.7.1 <bob@y.test>: Recipient address rejected: Greylisted for 297 seconds" * 3)
CONTENT = "Subject: =?utf-8?Q?f=C3=BCr_Sie?=\r\nX-Long: {}\r\n\r\nf\u00fcr\t\x1b[31mred\r\n".format(
    "v" * 900
)
WIDTHS = [40, 60, 80, 132, 200]


class Spool:
    """One message in each state but unfiltered; with long addresses and replies."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        asyncio.run(self._fill())

    async def _fill(self) -> None:
        def nothing(_event: Event) -> None: ...

        now = time.time()
        async with open_store(self.directory, report=nothing) as store:

            async def put(sender: str, *to: str) -> QueueId:
                envelope = Envelope(
                    sender=Address(sender), to_remote=tuple(map(Address, to)), utf8=True
                )
                async with store.draft(envelope) as draft:
                    draft.write(CONTENT.encode())
                    await draft.commit(Stage.READY)
                return draft.id

            self.deferred = await put(LONG, LONG, "bob@y.test")
            self.failed = await put("李白@x.test", "杜甫@y.test")
            self.held, self.ready = await put("", "bob@y.test"), await put("ann@x.test", LONG)
            for message, settlement in (
                (
                    self.deferred,
                    Defer(
                        Attempt(
                            at=now,
                            peer="mx.y.test:25",
                            replies={LONG: BUSY},
                            next_attempt=now + 900,
                        )
                    ),
                ),
                (self.failed, Fail(Reply(550, "5.1.1 nobody 杜甫"))),
            ):
                claim = await store.claim(Stage.READY, message)
                assert claim is not None
                async with claim:
                    await claim.settle(settlement)
            await store.hold(self.held)

    def run(
        self,
        *words: str,
        columns: int = 80,
        answer: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Shown:
        return at_terminal(
            "emailrelay.queue",
            [*words, "-s", str(self.directory)],
            columns=columns,
            answer=answer,
            environment=environment,
        )


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Spool:
    """Give a spool that no test of this module changes."""
    return Spool(tmp_path_factory.mktemp("terminal") / "spool")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("words", [["list"], ["list", "--by", "reply"], ["stats"]], ids=" ".join)
def test_no_line_is_wider_than_the_terminal(
    looked_at: Spool, words: list[str], columns: int
) -> None:
    shown = looked_at.run(*words, columns=columns)
    assert shown.status == 0
    lines = [ESCAPE.sub("", line) for line in shown.lines]
    assert len(lines) > 3
    assert [line for line in lines if cells(line) > columns] == []


@pytest.mark.parametrize("columns", WIDTHS)
def test_ids_states_and_beginnings_of_texts_are_whole(looked_at: Spool, columns: int) -> None:
    text = ESCAPE.sub("", looked_at.run("list", columns=columns).text)
    for message, state in (
        (looked_at.deferred, "deferred"),
        (looked_at.failed, "failed"),
        (looked_at.held, "held"),
        (looked_at.ready, "ready"),
    ):
        assert re.search(rf"^{re.escape(message)} +{state}\b", text, re.MULTILINE)
    for words in ("a.very.long.loc", "451 4.7.1 <bob", "550 5.1.1 nob", "in 15 min", "李白@x.test"):
        assert words in text, words
    assert "…" in text


def test_eighty_columns_show_a_message_in_three_lines(looked_at: Spool) -> None:
    lines = [ESCAPE.sub("", line) for line in looked_at.run("list").lines]
    assert re.fullmatch(r"ID +State +Arrived +Size +Next try", lines[0])
    assert re.fullmatch(
        rf"{looked_at.deferred}  deferred  \d+ s ago  9\d\d octets  in 15 min", lines[1]
    )
    assert lines[2].startswith("  a.very.long.local.part.indeed@subdomain")
    assert lines[3].startswith("  451 4.7.1 <bob@y.test>: Recipient")
    assert lines[3].endswith("…")
    assert lines[-1] == "4 messages"


def test_wide_form_cuts_nothing(looked_at: Spool) -> None:
    text = looked_at.run("list", "--wide", columns=40).text
    assert str(BUSY) in text
    assert f"{LONG} (2 of 2 pending)" in text
    assert time.strftime("%Y-%m-%d ") in text


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "latin-1", "C"],
)
def test_any_character_set_will_do(looked_at: Spool, environment: dict[str, str]) -> None:
    for words in (
        ["list"],
        ["list", "--by", "reply"],
        ["show", looked_at.failed],
        ["cat", looked_at.failed],
        ["check"],
    ):
        shown = looked_at.run(*words, environment=environment)
        assert "Traceback" not in shown.text
        assert shown.status == (1 if words == ["check"] else 0), shown.text
    listed = looked_at.run("list", environment=environment).text
    assert "..." in listed
    assert "\\u2026" not in listed


def test_colours_are_for_terminals_that_want_them(looked_at: Spool) -> None:
    assert "\x1b[33mdeferred\x1b[0m" in looked_at.run("list").text
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in looked_at.run("list", environment=environment).text


def test_content_at_a_terminal_is_harmless(looked_at: Spool) -> None:
    text = looked_at.run("cat", looked_at.ready).text
    assert text.endswith("\nfür     \\x1b[31mred\n")
    assert "\x1b" not in text


def test_content_in_a_pipe_is_the_message_octet_for_octet(looked_at: Spool) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "emailrelay.queue",
            "cat",
            looked_at.ready,
            "-s",
            str(looked_at.directory),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (CONTENT.encode(), b"")


def test_header_and_subject_are_decoded_and_bounded(looked_at: Spool) -> None:
    text = looked_at.run("show", looked_at.deferred).text
    assert "  subject   für Sie\n" in text
    assert re.search(r"^  X-Long: v{150,200}\.\.\.$", text, re.MULTILINE)
    assert f"X-Long: {'v' * 900}" in looked_at.run("show", "--wide", looked_at.deferred).text


@pytest.mark.parametrize("action", ["hold", "retry", "fail", "delete"])
def test_many_messages_are_changed_after_a_yes_only(spool: Spool, action: str) -> None:
    counts = {"hold": 2, "retry": 3, "fail": 3, "delete": 4}
    for answer in ("\n", "n\n", "perhaps\n", "\x04"):
        refused = spool.run(action, "--all", answer=answer)
        assert refused.status == 1
        assert f"{counts[action]} messages" in refused.text
        assert "nothing was changed" in refused.text
    assert "deferred" in spool.run("list").text
    assert (
        f"{action}: {counts[action]} of {counts[action]} messages"
        in spool.run(action, "--all", answer="y\n").text
    )


def test_yes_ids_and_flush_need_no_answer(spool: Spool) -> None:
    for words in (["flush"], ["release", "--all", "--yes"], ["delete", spool.ready, spool.failed]):
        shown = spool.run(*words)
        assert shown.status == 0, shown.text
        assert "[y/N]" not in shown.text


def test_dry_run_shows_the_messages_and_changes_nothing(spool: Spool) -> None:
    shown = spool.run("delete", "--to", "bob@y.test", "--dry-run")
    assert shown.status == 0
    assert "delete: would change 2 messages" in shown.text
    assert spool.held in shown.text
    assert spool.ready not in shown.text
    assert "4 messages" in spool.run("list").text
