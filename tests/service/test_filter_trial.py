"""emailrelay-filter-test: verdicts and changes of real filter programs; nothing stays behind."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.name_server import name_server
from tests.fakes.signatures import ED, write_key

Make = Callable[[str], str]
KEY = """[[dkim]]
name = "k"
domain = "example.org"
selector = "ed"
key_file = "{}/key.pem"
"""
STRANGER = "From: a@stranger.test\n\nbody\n"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(script: str) -> str:
        path = tmp_path / "filter"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


def trial(*words: str, text: str = "") -> tuple[int, list[str], str]:
    ended = subprocess.run(
        [sys.executable, "-m", "emailrelay_filterd.trial", *words],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout.splitlines(), ended.stderr


def test_a_rejection_shows_what_the_client_would_hear(make: Make) -> None:
    path = make("echo '<<554 5.7.1 not here>>'; echo '<<matched rule 7>>'; exit 5")

    status, said, _ = trial(path)

    assert status == 1
    assert said[:4] == [
        "verdict:  rejected",
        f"by:       {path}",
        "reply:    554 5.7.1 not here",
        "reason:   matched rule 7",
    ]


def test_changes_are_shown_line_by_line(make: Make, tmp_path: Path) -> None:
    message = tmp_path / "message"
    message.write_text("Subject: first\n\nbody\n")
    path = make("""sed -i 's/^Subject: .*/Subject: second\\r/' "$1"; touch "$1.beside" """)

    status, said, _ = trial(path, "--message", str(message))

    assert status == 0
    assert said[0] == "verdict:  accepted"
    assert "  -Subject: first" in said
    assert "  +Subject: second" in said
    assert any(line.startswith("envelope: unchanged") for line in said)
    assert any(line.startswith("beside:   emailrelay.") for line in said)


def test_a_program_sees_the_message_and_the_envelope_that_were_asked_for(make: Make) -> None:
    path = make("""
grep -q '^X-MailRelay-From: ann@a.test' "$2" && grep -q '^X-MailRelay-To-Remote: bob@b.test' "$2" &&
grep -q 'said on stdin' "$1" && case "$2" in *.envelope.new) exit 0;; esac; exit 9""")
    envelope = ("--from", "ann@a.test", "--to", "bob@b.test")

    assert trial(path, *envelope, "--message", "-", text="a: b\n\nsaid on stdin\n")[0] == 0
    assert trial(path, "--message", "-", text="a: b\n\nsaid on stdin\n")[0] == 1


def test_a_local_recipient_gets_its_copy(tmp_path: Path) -> None:
    (tmp_path / "bob").mkdir()

    status, said, _ = trial(f"deliver:{tmp_path}", "--to-local", "bob")

    assert status == 1
    assert said[0] == "verdict:  delivered to mailboxes of this host; the client is told 250"
    assert len(list(tmp_path.glob("bob/new/*"))) == 1


def test_local_recipients_stand_beside_others(make: Make) -> None:
    path = make("""
grep -q '^X-MailRelay-ToCount: 2' "$2" && grep -q '^X-MailRelay-To-Local: ann' "$2" &&
grep -q '^X-MailRelay-To-Remote: bob@b.test' "$2" """)

    assert trial(path, "--to-local", "ann", "--to", "bob@b.test")[0] == 0


@pytest.mark.parametrize(
    ("spec", "server", "client"),
    [
        ("exit:0", "accepted", "sent as it is now"),
        ("exit:100", "dropped; the client is told 250", "skipped; the message stays queued"),
        ("exit:3", "rejected", "failed for good"),
    ],
)
def test_an_exit_code_means_what_its_side_says(spec: str, server: str, client: str) -> None:
    assert trial(spec)[1][0] == f"verdict:  {server}"
    assert trial(spec, "--client")[1][0] == f"verdict:  {client}"


def test_what_cannot_be_run_is_told_with_the_reason(tmp_path: Path) -> None:
    status, said, complaint = trial(str(tmp_path / "none"))

    assert status == 1
    assert said[0] == "verdict:  none: the message is held back and tried again"
    assert f"{tmp_path}/none: there is no such file" in complaint


def test_filter_that_cannot_start_is_no_success_although_the_message_passes(
    tmp_path: Path,
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(KEY.format(tmp_path))  # there is no such file
    status, said, complaint = trial(f"--config={file}", "--message=-", "dkim:", text=STRANGER)
    assert (status, said[0]) == (1, "verdict:  accepted")
    assert complaint.startswith(f"emailrelay-filter-test: dkim:: {tmp_path}/key.pem: cannot be")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (STRANGER, "no key is for stranger.test, the domain of the author (From)"),
        ("Subject: x\n\nbody\n", "the message does not have one author domain (From)"),
    ],
)
def test_author_without_a_key_is_told(tmp_path: Path, text: str, note: str) -> None:
    write_key(tmp_path / "key.pem", ED)
    file = tmp_path / "relay.toml"
    file.write_text(KEY.format(tmp_path))
    status, said, complaint = trial(f"--config={file}", "--message=-", "dkim:", text=text)
    assert (status, complaint) == (0, "")
    assert f"note:     dkim: does not sign: {note}" in said
    assert not any(line.startswith("note:") for line in trial(f"--config={file}", "dkim:")[1])


def test_filters_of_tables_can_be_tried(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('[[header]]\nname = "h"\nset = { Subject = "new" }\n')
    status, said, _ = trial(f"--config={file}", "header:h", "pipe:/bin/cat")
    assert status == 1
    assert "by:       pipe:/bin/cat" in said
    status, said, _ = trial(f"--config={file}", "header:h")
    assert status == 0
    assert {"  -Subject: a message to try filters on", "  +Subject: new"} <= set(said)


async def test_filters_that_ship_can_be_tried_as_one_chain(make: Make, tmp_path: Path) -> None:
    write_key(tmp_path / "key.pem", ED)
    (tmp_path / "map").write_text("sales@b.test ann@b.test\n")
    (tmp_path / "footer").write_text("Example Ltd\n")
    (tmp_path / "boxes/all/new").mkdir(parents=True)
    (tmp_path / "boxes/all/tmp").mkdir()
    file = tmp_path / "relay.toml"
    file.write_text(KEY.format(tmp_path))
    loop = make("while read -r content; do echo ok; done")
    async with name_server({("b.test", "MX"): ["10 mail.b.test."]}) as (_, place):
        specs = (
            *("split:", "header:set=Subject: new", f"rewrite:{tmp_path}/map", f"pipe:{loop}"),
            *(f"disclaimer:{tmp_path}/footer", "msgid:", f"mx:{place}", "dkim:"),
            *(f"archive:{tmp_path}/all", f"copy:{tmp_path}/boxes", f"deliver:{tmp_path}/boxes"),
        )
        to = ("--to=sales@b.test", "--to=x@c.test")
        status, said, told = await asyncio.to_thread(trial, f"--config={file}", *to, *specs)
    assert (status, told) == (0, "")
    assert said[:2] == ["verdict:  accepted", f"by:       deliver:{tmp_path}/boxes"]
    assert {
        "beside:   emailrelay.split-1.content",
        "beside:   emailrelay.split-1.envelope.filter",
        "  -Subject: a message to try filters on",
        "  +Subject: new",
        "  +Example Ltd",
        "  -X-MailRelay-To-Remote: x@c.test",
        "  +X-MailRelay-To-Remote: ann@b.test",
        "  +X-MailRelay-ForwardTo: b.test",
        "  +X-MailRelay-ForwardToAddress: mail.b.test:25",
    } <= set(said)
    assert any("+DKIM-Signature: v=1; a=ed25519-sha256;" in line for line in said)
    for maildir in ("all", "boxes/all"):
        assert len(list((tmp_path / maildir / "new").iterdir())) == 1


def test_wrong_tables_and_names_are_told(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('[[header]]\nname = "h"\n')
    assert trial(f"--config={file}", "exit:0")[0] == 64
    file.write_text('[[header]]\nname = "h"\nremove = ["A"]\n')
    status, _, told = trial(f"--config={file}", "header:x")
    assert status == 64
    assert "(h)" in told
    assert trial("--config=/nonexistent", "exit:0")[0] == 64


def test_a_program_that_hangs_is_ended(make: Make) -> None:
    _, said, _ = trial(make("exec sleep 1000"), "--timeout", "0.3")

    assert "reason:   no verdict within 0.3 s" in said


def test_message_that_cannot_be_read_has_its_exit_status() -> None:
    assert trial("exit:0", "--message", "/nowhere/mail")[0] == 66


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["exit:300"], "exit:300"),
        (["exit:0", "--to", "a\nb"], r"--to: 'a\nb': write the address alone"),
        (["exit:0", "--to", "Ann <a@b.test>"], "--to: 'Ann <a@b.test>': write the address alone"),
        (["exit:0", "--from", "a b"], "--from: 'a b': write the address alone"),
        (["exit:0", "--to-local", ""], "--to-local: '': write the address alone"),
        (["exit:0", "--client-address", "host"], "--client-address: 'host': write an IP address"),
        (["exit:0", "--helo", "a\nb"], r"--helo: 'a\nb': write characters"),
        (["exit:0", "--timeout", "nan"], "--timeout: 'nan': write a number of seconds above 0"),
        (["exit:0", "--timeout", "-1"], "--timeout: '-1': write a number of seconds above 0"),
    ],
)
def test_wrong_words_are_told_before_a_filter_runs(words: list[str], told: str) -> None:
    status, said, complaint = trial(*words)
    assert (status, said) == (64, [])
    assert told in complaint


def test_filters_see_the_client_that_was_asked_for(make: Make) -> None:
    path = make("""
grep -q '^X-MailRelay-Client: 192.0.2.7' "$2" && grep -q '^X-MailRelay-Authentication: ann' "$2" &&
grep -q '"helo":"c.test","mechanism":"PLAIN"' "$2" && grep -q '^X-MailRelay-From: .$' "$2" """)
    client = ("--client-address=192.0.2.7", "--helo=c.test", "--user=ann", "--from=")
    assert trial(path, *client)[0] == 0
    assert trial(path)[0] == 1


def test_filters_see_the_name_of_this_host_in_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('domain = "mail.example.com"\n')
    _, said, _ = trial(f"--config={file}", "--message=-", "msgid:", text="From: a@b.test\n\nx\n")
    assert any(line.startswith("  +Message-ID: <") for line in said)
    assert any(line.endswith("@mail.example.com>") for line in said)


def test_nothing_is_left_behind(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "tmp"
    there.mkdir()
    monkeypatch.setenv("TMPDIR", str(there))
    monkeypatch.setattr(tempfile, "tempdir", None)

    assert trial(make('chmod 0 "$1"; exit 1'))[0] == 1
    assert list(there.iterdir()) == []
