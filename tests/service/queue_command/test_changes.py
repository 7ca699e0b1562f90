"""The commands that change messages."""

import json

import pytest
from tests.service.queue_command.stored_mail import Mail


def test_hold_release_retry_and_fail_move_messages(mail: Mail) -> None:
    assert mail.run("hold", mail.ready) == 0
    assert mail.run("release", mail.held) == 0
    assert mail.run("retry", "--state", "failed") == 0
    assert mail.run("fail", mail.deferred) == 0
    assert mail.states() == {
        mail.deferred: "failed",
        mail.failed: "ready",
        mail.held: "ready",
        mail.ready: "held",
    }


def test_what_was_changed_is_told_to_programs(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {
        ("hold", mail.ready): mail.ready,
        ("release", mail.held): mail.held,
        ("flush",): mail.deferred,
        ("retry", mail.failed): mail.failed,
        ("fail", mail.deferred): mail.deferred,
        ("delete", mail.held): mail.held,
    }
    for command, message in changes.items():
        assert mail.run(*command, "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told == {"id": message, "done": True, "problem": None}


def test_flush_makes_deferred_mail_due_and_touches_nothing_else(mail: Mail) -> None:
    assert mail.run("flush") == 0
    states = mail.states()
    assert states[mail.deferred] == "ready"
    assert states[mail.failed] == "failed"
    assert states[mail.held] == "held"
    assert mail.run("flush") == 1, "nothing is deferred any more"


def test_delete_deletes_what_is_selected_and_nothing_else(mail: Mail) -> None:
    assert mail.run("delete", "--state", "failed", "--from", "root", "--yes") == 0
    assert mail.failed not in mail.states()
    assert len(mail.states()) == 3
    assert mail.run("delete", "--all", "--yes") == 0
    assert mail.states() == {}
    assert [path.name for path in mail.spool.iterdir() if not path.name.startswith(".")] == []


def test_unknown_id_among_others_is_told_and_does_not_stop_them(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mail.run("delete", mail.ready, "1.1.1") == 1
    assert "1.1.1: no such message" in capsys.readouterr().err
    assert mail.run("show", "bob@y.test") == 1
    assert "'emailrelay-queue trace bob@y.test' looks" in capsys.readouterr().err
    assert mail.ready not in mail.states()


@pytest.mark.parametrize(
    ("action", "state", "reason"),
    [
        ("fail", "failed", "has failed already"),
        ("hold", "held", "is held already"),
        ("retry", "ready", "is due already"),
        ("release", "ready", "is not held"),
        ("flush", "failed", "is not deferred"),
    ],
)
def test_message_in_another_state_is_told_from_an_unknown_one(
    mail: Mail, capsys: pytest.CaptureFixture[str], action: str, state: str, reason: str
) -> None:
    before = mail.states()
    message = next(each for each, found in before.items() if found == state)
    assert mail.run(action, message, "1.1.1") == 1
    assert capsys.readouterr().err.splitlines() == [
        f"emailrelay-queue: 1.1.1: no such message to {action}",
        f"emailrelay-queue: {message}: {reason}",
    ]
    assert mail.states() == before


def test_dry_run_tells_programs_what_would_be_done(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mail.run("delete", "--all", "--dry-run", "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["done"] for entry in told] == [False] * 4
    assert mail.run("release", mail.ready, "--dry-run") == 1
    assert len(mail.states()) == 4
