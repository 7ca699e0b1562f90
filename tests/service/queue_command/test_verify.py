"""The command verify, which looks for damage."""

import json

import pytest
from tests.service.queue_command.stored_mail import Mail, content


def test_verify_finds_nothing_in_a_sound_spool_and_changes_nothing(mail: Mail) -> None:
    before = sorted(path.name for path in mail.spool.rglob("*"))
    assert mail.run("verify", "--contents") == 0
    assert mail.run("verify", "--repair") == 0
    assert sorted(path.name for path in mail.spool.rglob("*")) == before


def test_verify_finds_damage_and_repairs_only_when_told(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    content(mail, mail.ready).unlink()
    draft = mail.spool / ".new" / "emailrelay.1.1.1.envelope"
    draft.write_bytes(b"X-MailRelay-Format: #2821.8\r\n")
    for _ in range(2):
        assert mail.run("verify", "--json") == 1
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [finding["problem"] for finding in told] == [
            "content: missing",
            "a draft whose writer died",
        ]
    assert mail.run("verify", "--repair") == 1
    out = capsys.readouterr().out
    assert "set aside as failed" in out
    assert "finished or taken back" in out
    assert not draft.exists()
    assert mail.states()[mail.ready] == "failed"
    assert mail.run("verify") == 0


def test_verify_holds_a_message_whose_octets_have_changed(mail: Mail) -> None:
    content(mail, mail.ready).write_bytes(b"Subject: y\r\n\r\nx\r\n")
    assert mail.run("verify") == 0, "the length is right"
    assert mail.run("verify", "--contents") == 1
    assert mail.run("verify", "--contents", "--repair") == 1
    assert mail.states()[mail.ready] == "held"


def test_verify_keeps_what_is_not_ours(mail: Mail, capsys: pytest.CaptureFixture[str]) -> None:
    (mail.spool / "notes.txt").write_text("of the administrator")
    orphan = mail.spool / "emailrelay.9.9.9.content"
    orphan.write_bytes(b"x\r\n")
    assert mail.run("verify", "--repair") == 1
    assert "a content without an envelope -> kept" in capsys.readouterr().out
    assert orphan.exists()
