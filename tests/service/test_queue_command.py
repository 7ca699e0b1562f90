"""emailrelay-queue as operators and programs use it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emailrelay.envelope import Address, Envelope
from emailrelay.envelope_format import write
from emailrelay.events import Event
from emailrelay.journal import Attempt
from emailrelay.queue.cli import main
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Fail
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.terminal.human import when

ANN, BOB = Address("ann@x.test"), Address("bob@y.test")
BUSY, NOBODY = Reply(451, "4.3.0 busy [red]"), Reply(550, "5.1.1 nobody")


def nothing(_event: Event) -> None:
    """Take reports."""


async def put(store: Store, sender: str = ANN) -> QueueId:
    async with store.draft(Envelope(sender=Address(sender), to_remote=(BOB,))) as draft:
        draft.write(b"Subject: x\r\n\r\nx\r\n")
        await draft.commit(Stage.READY)
    return draft.id


async def settle(store: Store, message: QueueId, settlement: Defer | Fail) -> None:
    claim = await store.claim(Stage.READY, message)
    assert claim is not None
    async with claim:
        await claim.settle(settlement)


class Mail:
    """One message in each state."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        asyncio.run(self._fill())

    async def _fill(self) -> None:
        now = time.time()
        async with open_store(self.spool, report=nothing) as store:
            self.deferred, self.failed = await put(store), await put(store, "root")
            self.held, self.ready = await put(store, ""), await put(store)
            attempt = Attempt(at=now, peer="mx:25", replies={BOB: BUSY}, next_attempt=now + 900)
            await settle(store, self.deferred, Defer(attempt))
            await settle(store, self.failed, Fail(NOBODY))
            await store.hold(self.held)

    def states(self) -> dict[str, str]:
        return {entry["id"]: entry["state"] for entry in self.entries()}

    def entries(self) -> Iterator[dict[str, Any]]:
        command = [
            sys.executable,
            "-m",
            "emailrelay.queue",
            "list",
            "--json",
            "-s",
            str(self.spool),
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        for line in done.stdout.splitlines():
            yield json.loads(line)

    def run(self, *arguments: str) -> int:
        return main([*arguments, "--spool-dir", str(self.spool)])


@pytest.fixture
def mail(tmp_path: Path) -> Mail:
    return Mail(tmp_path / "spool")


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
    ("word", "advice"),
    [
        ("lsit", "did you mean list?"),
        ("realese", "did you mean release?"),
        ("xyz", "--help lists them"),
    ],
)
def test_misspelt_command_gets_a_suggestion(
    mail: Mail, capsys: pytest.CaptureFixture[str], word: str, advice: str
) -> None:
    assert mail.run(word) == 64
    assert capsys.readouterr().err == f"emailrelay-queue: {word}: no such command; {advice}\n"


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


def test_misspelt_grouping_is_told_with_those_that_there_are(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mail.run("list", "--by", "reples") == 64
    assert "--by: reples: no grouping; write reply, " in capsys.readouterr().err


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
    assert "2026-01-02.jsonl: it is no regular file" in said.err
    assert "unread" not in said.out


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


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["hold"], 64),
        (["list", "--older", "soon"], 64),
        (["list", "--state", "lost"], 64),
        (["no-such-command"], 64),
        ([], 64),
        (["--version"], 0),
        (["list", "--help"], 0),
        (["list", "-s", "/nowhere/at/all"], 66),
        (["list", "--store", "redis://x"], 66),
    ],
)
def test_exit_statuses(arguments: list[str], status: int) -> None:
    assert main(arguments) == status


def test_verify_finds_nothing_in_a_sound_spool_and_changes_nothing(mail: Mail) -> None:
    before = sorted(path.name for path in mail.spool.rglob("*"))
    assert mail.run("verify", "--contents") == 0
    assert mail.run("verify", "--repair") == 0
    assert sorted(path.name for path in mail.spool.rglob("*")) == before


def content(mail: Mail, message: QueueId) -> Path:
    return mail.spool / f"emailrelay.{message}.content"


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


def test_unreadable_envelope_is_listed_and_can_be_deleted(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    (mail.spool / "emailrelay.1.1.1.envelope.bad").write_bytes(b"garbage\r\n")
    assert mail.run("list", "1.1.1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sender"] is None
    assert "envelope" in told["last_reply"]
    assert mail.run("show", "1.1.1") == 0
    assert mail.run("delete", "1.1.1") == 0


@pytest.mark.parametrize("words", ["list --json", "list", "verify", "show 1.1.1"])
def test_reader_that_has_seen_enough_is_no_error(mail: Mail, words: str) -> None:
    for number in range(2000):
        (mail.spool / f"emailrelay.{number}.9.9.envelope").write_bytes(b"garbage\r\n")
    envelope = Envelope(sender=ANN, to_remote=tuple(Address(f"b{n}@y.test") for n in range(9999)))
    (mail.spool / "emailrelay.1.1.1.envelope.hold").write_bytes(write(envelope))
    command = f"{sys.executable} -m emailrelay.queue {words} -s {mail.spool} | head -c 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def queue(mail: Mail, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "emailrelay.queue", *arguments, "-s", str(mail.spool)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


async def put_attempted(spool: Path, attempt: Attempt, sender: str) -> QueueId:
    async with open_store(spool, report=nothing) as store:
        message = await put(store, sender)
        await settle(store, message, Defer(attempt))
    return message


@pytest.mark.parametrize(
    "console",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}],
)
def test_console_that_lacks_characters_shows_escapes(mail: Mail, console: dict[str, str]) -> None:
    attempt = Attempt(at=time.time(), peer="mx", trouble=Reply(451, "李"), next_attempt=9e9)
    message = asyncio.run(put_attempted(mail.spool, attempt, "李@x.test"))
    for command in (["list"], ["show", message], ["list", "--json"], ["stats"], ["verify"]):
        done = queue(mail, *command, **console)
        assert (done.returncode, done.stderr) == (0, "")


def test_what_others_wrote_does_nothing_to_the_terminal(mail: Mail) -> None:
    attempt = Attempt(
        at=time.time(),
        peer="\x1b]0;mx\x07",
        trouble=Reply(451, "\u202ebusy\x9b2J"),
        next_attempt=time.time() + 900,
    )
    message = asyncio.run(put_attempted(mail.spool, attempt, "ann\u202e@x.test"))
    listed, shown = queue(mail, "list"), queue(mail, "show", message)
    assert "ann\\u202e@x.test" in listed.stdout
    assert "\\u202ebusy" in listed.stdout
    assert "\\x1b]0;mx\\x07: 451 \\u202ebusy" in shown.stdout
    for done in (listed, shown):
        assert not {"\x1b", "\u202e", "\x9b", "\x07"} & set(done.stdout)


def test_numbers_have_their_noun(mail: Mail, capsys: pytest.CaptureFixture[str]) -> None:
    for message in (mail.ready, mail.held, mail.failed):
        assert mail.run("delete", message) == 0
        assert "delete: 1 of 1 message\n" in capsys.readouterr().out
    assert mail.run("verify") == 0
    assert capsys.readouterr().out == "1 message, 0 problems\n"


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


@pytest.fixture
def odd(mail: Mail) -> Iterator[Mail]:
    """Give a spool with a socket where an envelope should be, and one where a content should be."""
    content(mail, mail.ready).unlink()
    directory = os.open(mail.spool, os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as envelope, socket.socket(socket.AF_UNIX) as inner:
        # The whole path may be too long for a socket's address.
        envelope.bind(f"/proc/self/fd/{directory}/emailrelay.7.1.1.envelope")
        inner.bind(f"/proc/self/fd/{directory}/{content(mail, mail.ready).name}")
        yield mail
    os.close(directory)


def test_entry_that_cannot_be_read_is_named_and_the_others_are_listed(odd: Mail) -> None:
    for selector in ([], ["--to", "*@y.test"]):
        done = queue(odd, "list", *selector)
        assert done.returncode == 0
        for message in (odd.deferred, odd.failed, odd.held, odd.ready):
            assert message in done.stdout
        if selector:
            assert "emailrelay-queue: warning: 7.1.1 is left out: " in done.stderr
        else:
            assert "7.1.1" in done.stdout
    told = {entry["id"]: entry for entry in odd.entries()}
    assert told[QueueId("7.1.1")]["sender"] is None
    assert told[QueueId("7.1.1")]["last_reply"]
    assert odd.run("show", "7.1.1") == 0
    assert odd.run("stats") == 0


def test_verify_reports_what_it_cannot_read_and_goes_on(
    odd: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    assert odd.run("verify", "--json") == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {finding["name"] for finding in told} == {
        "emailrelay.7.1.1.envelope",
        f"emailrelay.{odd.ready}.envelope",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize("words", [("list",), ("check",)])
def test_a_user_who_cannot_read_the_spool_is_told_who_can(
    sockets: Path, words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    sockets.chmod(0o755)
    spool = sockets / "mail"
    spool.mkdir(mode=0o700)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os._exit(main([*words, "-s", str(spool)]))
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == (3 if words == ("check",) else 75)
    told = capfd.readouterr()
    assert "Permission denied; become root, or a member of its group" in told.out + told.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_envelope_that_this_user_may_not_read_is_named_and_the_others_are_listed(
    tmp_path: Path,
) -> None:
    mail = Mail(tmp_path / "spool")
    for path in (mail.spool, *mail.spool.rglob("*")):
        os.chown(path, 65534, 65534)
    secret = mail.spool / f"emailrelay.{mail.failed}.envelope.bad"
    os.chown(secret, 0, 0)
    secret.chmod(0o600)
    for parent in tmp_path.parents[:3]:  # a worker of xdist has a directory of its own
        if parent != Path(tempfile.gettempdir()):
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    # The other user may be unable to read the interpreter's directory: list once before.
    program = (
        "import os, sys; from emailrelay.queue.cli import main; arguments = sys.argv[1:];"
        " main(arguments); print('AGAIN', flush=True);"
        " os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(main(arguments))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "list", "-s", str(mail.spool)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    listed = done.stdout.partition("AGAIN\n")[2]
    assert mail.ready in listed
    (told,) = (line for line in listed.splitlines() if line.startswith(mail.failed))
    assert "Permission denied" in told
    assert "Errno" not in told


def test_options_of_all_commands_stand_before_or_after_the_command(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = str(mail.spool)
    for words in (
        ["-s", spool, "--json", "list", mail.held],
        ["list", "--json", mail.held, f"--spool-dir={spool}"],
        ["--store", f"spool://{spool}", "list", mail.held, "--json"],
        ["-s", "/nowhere", "list", "-s", spool, mail.held, "--json"],
    ):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["id"] == mail.held


def test_settings_file_names_the_spool(
    mail: Mail, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMAILRELAY_CONFIG", raising=False)
    config = tmp_path / "relay.toml"
    config.write_text(f'spool_dir = "{mail.spool}"\n')
    for words in (["-c", str(config), "stats"], ["stats", "--config", str(config)]):
        monkeypatch.setenv("EMAILRELAY_CONFIG", "/nowhere")
        assert main([*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["all"]["messages"] == 4


def test_options_are_not_abbreviated(mail: Mail) -> None:
    assert mail.run("delete", "--al", "--ye") == 64
    assert len(mail.states()) == 4


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


def test_dry_run_tells_programs_what_would_be_done(
    mail: Mail, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mail.run("delete", "--all", "--dry-run", "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["done"] for entry in told] == [False] * 4
    assert mail.run("release", mail.ready, "--dry-run") == 1
    assert len(mail.states()) == 4


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


@pytest.mark.parametrize(
    ("limits", "status", "word"),
    [
        (["--warning-failed", "1", "--warning-free", "0", "--critical-free", "0"], 0, "OK"),
        ([], 1, "WARNING"),
        (["--critical", "0s"], 2, "CRITICAL"),
        (["--critical-waiting", "1"], 2, "CRITICAL"),
        (["--critical-failed", "0"], 2, "CRITICAL"),
        (["--critical-free", "100"], 2, "CRITICAL"),
        (["--critical", "soon"], 3, "UNKNOWN"),
        (["--no-such-option"], 3, "UNKNOWN"),
    ],
)
def test_check_answers_as_a_monitoring_plugin(
    mail: Mail, capsys: pytest.CaptureFixture[str], limits: list[str], status: int, word: str
) -> None:
    assert mail.run("check", *limits) == status
    told = capsys.readouterr()
    assert told.out.startswith(f"EMAILRELAY {word} - ")
    assert told.out.count("\n") == 1
    assert told.err == ""
    if status < 3:
        assert " | oldest=" in told.out
        assert "2 messages waiting" in told.out
        assert mail.run("check", *limits, "--json") == status
        assert json.loads(capsys.readouterr().out)["status"] == word


def test_check_of_a_store_that_cannot_be_read_is_unknown_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (["-s", "/nowhere"], ["--store", "postgresql://nobody@127.0.0.1:1/x"]):
        assert main(["check", *words]) == 3
        assert capsys.readouterr().out.startswith("EMAILRELAY UNKNOWN - ")
    assert main(["check", "-s", "/nowhere", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "UNKNOWN"
    assert "/nowhere" in told["reason"]


def test_check_answers_in_time_though_the_store_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/x"
        assert main(["check", "--store", url, "--timeout", "0.3s"]) == 3
    assert capsys.readouterr().out == "EMAILRELAY UNKNOWN - no answer within 0.3 s\n"


SLOW = ("asyncio", "typer", "rich", "pydantic", "psycopg", "email", "ssl", "pathlib")


@pytest.mark.parametrize("words", ["list", "list --json", "list --by reply", "stats", "check"])
def test_looking_at_a_spool_imports_nothing_slow(mail: Mail, words: str) -> None:
    program = (
        "import sys; from emailrelay.queue.cli import main;"
        " main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, *words.split(), "-s", str(mail.spool)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = done.stderr.split()
    assert [name for name in SLOW if name in loaded] == []
    assert len([name for name in loaded if name.startswith("emailrelay.")]) < 70
    assert len(loaded) < 190
