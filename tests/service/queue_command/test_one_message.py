"""The commands show, cat and trace, about one message."""

import asyncio
import json
import os

import pytest
from tests.service.queue_command.stored_mail import Mail, content, put_attempted

from emailrelay.journal import Attempt
from emailrelay.reply import Reply
from emailrelay.terminal.human import when


def test_show_tells_the_story_in_plain_words(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mail.run("show", mail.deferred) == 0
    out = capsys.readouterr().out
    for words in (
        "from      ann@x.test",
        "bob@y.test: pending",
        "try 1 with mx:25: bob@y.test: 451",
        "next try",
    ):
        assert words in out


def test_trace_of_mail_in_the_store_says_that_it_has_not_ended(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mail.run("trace", mail.ready, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["live"], told["ended"], told["end"]) == (True, None, None)


def test_trace_names_what_it_cannot_read(mail: Mail, capsys: pytest.CaptureFixture[str]) -> None:
    history = mail.spool / ".history"
    history.mkdir(exist_ok=True)
    os.mkfifo(history / "2026-01-02.jsonl")
    (history / "2026-01-03.jsonl").write_text('{"v":1,"id":"1.2.3","torn":"bob@y.test\n')
    assert mail.run("trace", "bob@y.test", "--json") == 0
    said = capsys.readouterr()
    *found, last = map(json.loads, said.out.splitlines())
    assert mail.ready in [each["id"] for each in found]
    assert set(last["unread"]) == {"2026-01-02.jsonl", "2026-01-03.jsonl"}
    for name in last["unread"]:
        assert f"emailrelay-queue: {name}: " in said.err
    assert mail.run("trace", "bob@y.test") == 0
    said = capsys.readouterr()
    assert "2026-01-02.jsonl: it is not a regular file" in said.err
    assert "unread" not in said.out


def test_show_claims_of_no_server_what_this_relay_found(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Attempt(at=1.0, peer="mx:25", trouble=Reply(451, "4.4.1 refused"), next_attempt=9e9)
    message = asyncio.run(put_attempted(mail.spool, refused, "ann@x.test"))
    assert mail.run("show", message) == 0
    out = capsys.readouterr().out
    assert "try 1 with mx:25: 451 4.4.1 refused" in out
    assert "answered" not in out
    assert when(1e300) == "@1e+300", "a journal may hold any number"


def test_show_tells_programs_header_and_journal(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mail.run("show", mail.deferred, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["subject"] == "x"
    assert told["header"] == [["Subject", "x"]]
    assert [event["event"] for event in told["journal"]] == ["Accepted", "Attempt"]
    assert told["journal"][1]["peer"] == "mx:25"


def test_cat_of_a_message_that_has_gone_is_an_error(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    content(mail, mail.ready).unlink()
    for message in ("1.1.1", mail.ready, "../etc/passwd"):
        assert mail.run("cat", message) == 1
        assert f"{message}: no such message" in capsys.readouterr().err
