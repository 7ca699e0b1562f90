"""The commands list and stats: the messages, chosen and counted."""

import json
import time
from pathlib import Path

import pytest
from tests.service.queue_command.stored_mail import BUSY, Mail

from emailrelay.queue.cli import main


def test_list_tells_programs_everything(mail: Mail) -> None:
    entries = {entry["id"]: entry for entry in mail.entries()}
    assert {m: e["state"] for m, e in entries.items()} == {
        mail.deferred: "deferred",
        mail.failed: "failed",
        mail.held: "held",
        mail.ready: "ready",
    }
    deferred = entries[mail.deferred]
    assert deferred["last_reply"] == str(BUSY)
    assert deferred["next_attempt"] > time.time()
    assert deferred["attempts"] == 1
    assert deferred["size"] == 17


def test_list_shows_people_a_table(mail: Mail, capsys: pytest.CaptureFixture[str]) -> None:
    assert mail.run("list") == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == [
        mail.deferred,
        mail.failed,
        mail.held,
        mail.ready,
    ]
    assert "451 4.3.0 busy [red]" in lines[1], "a peer's brackets are text, not colour"
    assert "4 messages" in out


def test_table_is_bounded_and_says_so(mail: Mail, capsys: pytest.CaptureFixture[str]) -> None:
    assert mail.run("list", "--limit", "2") == 0
    out = capsys.readouterr().out
    assert mail.deferred in out
    assert mail.ready not in out
    assert "4 messages; the oldest 2 are shown" in out


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        (["--state", "failed"], {"failed"}),
        (["--state", "failed", "--state", "held"], {"failed", "held"}),
        (["--from", "root"], {"failed"}),
        (["--from", "<>"], {"held"}),
        (["--to", "*@y.test", "--from", "ann@*"], {"deferred", "ready"}),
        (["--older", "0s"], {"deferred", "failed", "held", "ready"}),
    ],
)
def test_list_obeys_its_selectors(
    mail: Mail, capsys: pytest.CaptureFixture[str], selectors: list[str], expected: set[str]
) -> None:
    assert mail.run("list", "--json", *selectors) == 0
    found = {json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()}
    assert found == expected


def test_selectors_that_match_nothing_are_told_by_the_exit_status(mail: Mail) -> None:
    assert mail.run("list", "--from", "nobody@x.test") == 1
    assert mail.run("delete", "--older", "9w") == 1
    assert mail.run("show", "1.1.1") == 1


def test_empty_queue_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "-s", str(tmp_path)]) == 0
    assert "no messages" in capsys.readouterr().out


def test_misspelt_grouping_is_told_with_those_that_there_are(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mail.run("list", "--by", "reples") == 64
    assert "--by: reples: not a grouping; use reply, " in capsys.readouterr().err


def test_stats_count_state_by_state(mail: Mail, capsys: pytest.CaptureFixture[str]) -> None:
    assert mail.run("stats", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {name: told[name]["messages"] for name in told} == {
        "unfiltered": 0,
        "ready": 1,
        "deferred": 1,
        "held": 1,
        "failed": 1,
        "all": 4,
    }
    assert told["all"]["octets"] == 68
    assert mail.run("stats") == 0


def test_groups_are_counted(mail: Mail, capsys: pytest.CaptureFixture[str]) -> None:
    expected = {
        "reply": {"": 2, "451 4.3.0 busy [red]": 1, "550 5.1.1 nobody": 1},
        "state": {"deferred": 1, "failed": 1, "held": 1, "ready": 1},
        "sender": {"ann@x.test": 2, "root": 1, "<>": 1},
        "domain": {"y.test": 4},
    }
    for by, counts in expected.items():
        assert mail.run("list", "--by", by, "--json") == 0
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {group["group"]: group["messages"] for group in told} == counts
        assert {group["by"] for group in told} == {by}
        assert sum(group["octets"] for group in told) == 68
        assert mail.run("list", "--by", by) == 0
        assert str(max(counts.values())) in capsys.readouterr().out
    assert mail.run("list", "--by", "reply", "--state", "deferred") == 0
    out = capsys.readouterr().out
    assert "451 4.3.0 busy" in out
    assert "in 15 min" in out
    assert mail.run("list", "--by", "moon") == 64


def test_messages_are_chosen_by_route_and_grouped_by_it(
    mail: Mail, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "relay.toml"
    config.write_text(
        'forward_to = "smart.test:25"\n[[route]]\nname = "x"\nsender = ["x.test"]\n'
        'smarthosts = ["mx.test:25"]\n'
    )
    assert mail.run("list", "--by", "route", "--json", "-c", str(config)) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {group["group"]: group["messages"] for group in told} == {"default": 2, "x": 2}
    assert mail.run("list", "--route", "x", "--json", "-c", str(config)) == 0
    told = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
    assert told == [mail.deferred, mail.ready]


def test_action_takes_the_group_of_a_reply(mail: Mail) -> None:
    assert mail.run("hold", "--reply", "451 4.3.0 … [red]", "--newer", "1h") == 0
    assert mail.states()[mail.deferred] == "held"
    assert mail.run("hold", "--reply", "452") == 1
