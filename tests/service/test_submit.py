"""emailrelay-submit as a process, as programs on this host run it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from tests.acceptance.relay import free_port
from tests.service.submitting import MESSAGE, submit

DRIVER = Path(__file__).parent.parent / "fakes" / "dying_command.py"
NO_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")


def only(spool: Path, pattern: str) -> str:
    (path,) = spool.glob(f"emailrelay.*.{pattern}")
    return path.read_bytes().decode()


def test_message_is_in_the_spool_when_the_command_ends(tmp_path: Path) -> None:
    done = submit("-t", "-f", "ann@x.test", "--verbose", "--spool-dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).is_file()
    content, envelope = only(tmp_path, "content"), only(tmp_path, "envelope")
    assert "secret@z.test" not in content
    assert content.endswith("Subject: hi\r\n\r\nline\r\n")
    assert "X-MailRelay-From: ann@x.test\r\n" in envelope
    assert "X-MailRelay-To-Remote: secret@z.test\r\n" in envelope
    assert "X-MailRelay-Content: 7bit\r\n" in envelope
    message_id = content.partition("\r\nMessage-ID: ")[2].partition("\r\n")[0]
    assert f"X-MailRelay-MessageId: {message_id}\r\n" in envelope
    assert list((tmp_path / ".new").iterdir()) == []


SLOW_TO_IMPORT = {
    *("asyncio", "dataclasses", "email", "filelock", "inspect", "logging", "pathlib", "pydantic"),
    *("random", "secrets", "smtplib", "ssl", "structlog", "subprocess", "tempfile", "threading"),
    *("typer", "urllib", "uuid", "watchdog", "emailrelay.config", "emailrelay.journal"),
}


def test_nothing_is_imported_that_takes_longer_than_the_message(tmp_path: Path) -> None:
    program = "import sys; from emailrelay.submit.cli import main; main(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, "--spool-dir", str(tmp_path), "bob@x.test"],
        input=MESSAGE,
        capture_output=True,
        text=True,
        check=True,
    )
    assert only(tmp_path, "envelope")
    assert "emailrelay.store.spool.durable.draft_files" in done.stdout.split()
    assert SLOW_TO_IMPORT.isdisjoint(done.stdout.split())


def test_files_belong_to_the_spools_group(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    if os.geteuid() == 0:
        os.chown(tmp_path, -1, 12)
    submit("bob@x.test", "--spool-dir", str(tmp_path))
    for path in tmp_path.glob("emailrelay.*"):
        assert path.stat().st_gid == tmp_path.stat().st_gid
        assert path.stat().st_mode & 0o777 == 0o660


def test_message_goes_to_the_filters_where_a_mark_says_so(tmp_path: Path) -> None:
    (tmp_path / ".unfiltered").touch()
    assert submit("bob@x.test", "--spool-dir", str(tmp_path)).returncode == 0
    assert len(list(tmp_path.glob("*.envelope.filter"))) == 1
    assert list(tmp_path.glob("*.envelope")) == []


def test_eight_bit_text_is_declared(tmp_path: Path) -> None:
    submit("bob@x.test", "--spool-dir", str(tmp_path), text="Subject: x\n\nñandú\n")
    assert "X-MailRelay-Content: 8bit\r\n" in only(tmp_path, "envelope")


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        ([], MESSAGE, 64),
        (["--bogus", "a@x.test"], MESSAGE, 64),
        (["a b@x.test"], MESSAGE, 65),
        (["-t"], "Subject: x\n\nx\n", 65),
        (["a@x.test"], "Subject: x\n\na\0b\n", 65),
        (["--help"], "", 0),
        (["--version"], "", 0),
    ],
)
def test_mistakes_have_their_exit_status_and_leave_nothing(
    tmp_path: Path, arguments: list[str], text: str, status: int
) -> None:
    done = submit(*arguments, "--spool-dir", str(tmp_path), text=text)
    assert done.returncode == status
    assert not list(tmp_path.rglob("emailrelay.*"))


def test_without_spool_and_receiver_the_user_is_told_what_to_do(tmp_path: Path) -> None:
    nowhere = {"EMAILRELAY_SPOOL_DIR": str(tmp_path / "none")}
    done = submit("a@x.test", "--port", str(free_port()), environment=nowhere)
    assert done.returncode == 75
    assert "join the spool's group" in done.stderr
    assert "emailrelay-receiver" in done.stderr
    assert not (tmp_path / "none").exists()


SESSION = """EHLO client.test
MAIL FROM:<ann@x.test>
RCPT TO:<bob@x.test>
DATA
Subject: hi

line
.
QUIT
"""


def codes(said: str) -> list[str]:
    """Give the codes of complete replies."""
    return [line[:3] for line in said.splitlines() if line[3] == " "]


@pytest.mark.parametrize(("marks", "suffix"), [([], ""), ([".unfiltered"], ".filter")])
def test_programs_may_speak_smtp_and_their_mail_goes_to_the_filters(
    tmp_path: Path, marks: list[str], suffix: str
) -> None:
    for mark in marks:
        (tmp_path / mark).touch()
    done = submit("-bs", "--spool-dir", str(tmp_path), text=SESSION.replace("\n", "\r\n"))
    assert (done.returncode, done.stderr) == (0, "")
    assert codes(done.stdout) == ["220", "250", "250", "250", "354", "250", "221"]
    assert only(tmp_path, "content").endswith("Subject: hi\r\n\r\nline\r\n")
    assert "X-MailRelay-To-Remote: bob@x.test\r\n" in only(tmp_path, f"envelope{suffix}")


def test_a_program_that_goes_before_its_dot_leaves_nothing(tmp_path: Path) -> None:
    cut = SESSION.replace("\n", "\r\n").partition("\r\n.\r\n")[0]
    done = submit("-bs", "--spool-dir", str(tmp_path), text=cut)
    assert done.returncode == 0
    assert codes(done.stdout)[-1] == "354"
    assert not list(tmp_path.rglob("emailrelay.*"))


def test_a_program_without_a_receiver_gets_an_error(tmp_path: Path) -> None:
    nowhere = {"EMAILRELAY_SPOOL_DIR": str(tmp_path / "none")}
    done = submit("-bs", "--port", str(free_port()), text=SESSION, environment=nowhere)
    assert done.returncode == 75
    assert codes(done.stdout) == ["421"]
    assert "emailrelay-receiver" in done.stderr


class Receiver:
    """Keeps its messages; refuses ``no@x.test``."""

    def __init__(self) -> None:
        self.received: list[Envelope] = []

    async def handle_RCPT(  # noqa: N802 - the library's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address == "no@x.test":
            return "550 5.1.1 nobody"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        self.received.append(envelope)
        return "250 ok"


@NO_ROOT
def test_who_is_not_of_the_group_goes_through_the_receiver(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    receiver, port = Receiver(), free_port()
    controller = Controller(receiver, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        arguments = ("-f", "ann@x.test", "--spool-dir", str(tmp_path), "--port", str(port))
        done = submit(*arguments, "bob@x.test", user=65534)
        assert (done.returncode, done.stderr) == (0, "")
        refused = submit(*arguments, "no@x.test", user=65534)
        assert refused.returncode == 69
        assert "5.1.1 nobody" in refused.stderr
        spoken = submit("-bs", *arguments, user=65534, text=SESSION.replace("\n", "\r\n"))
        assert (spoken.returncode, spoken.stderr) == (0, "")
        assert codes(spoken.stdout)[-1] == "221"
    finally:
        controller.stop()
    assert list(tmp_path.iterdir()) == []
    sent, spoken_of = receiver.received
    for envelope in (sent, spoken_of):
        assert (envelope.mail_from, envelope.rcpt_tos) == ("ann@x.test", ["bob@x.test"])


@pytest.mark.parametrize("option", ["--spool-dir=", "--store=spool://", "--store=nothing:"])
def test_wrong_store_of_the_command_line_is_an_error_and_not_the_receivers(
    tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").touch()
    receiver, port = Receiver(), free_port()
    controller = Controller(receiver, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        for name in ("none", "file"):
            words = (f"{option}{tmp_path / name}", "--port", str(port))
            done = submit(*words, "bob@x.test")
            assert done.returncode == 75, "a status after which programs keep the message"
            assert "the message was not taken; correct --spool-dir or --store" in done.stderr
            spoken = submit("-bs", *words, text=SESSION.replace("\n", "\r\n"))
            assert (spoken.returncode, codes(spoken.stdout)) == (75, ["421"])
    finally:
        controller.stop()
    assert receiver.received == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_mailq_shows_the_queue(tmp_path: Path) -> None:
    empty = submit("--spool-dir", str(tmp_path), name="mailq")
    assert (empty.returncode, empty.stdout) == (0, "Mail queue is empty\n")
    submit("-f", "ann@x.test", "bob@x.test", "--spool-dir", str(tmp_path))
    full = submit("-bp", "--spool-dir", str(tmp_path))
    assert "ready from <ann@x.test>" in full.stdout
    assert "    bob@x.test\n" in full.stdout
    assert submit("--spool-dir", str(tmp_path / "none"), name="mailq").returncode == 66


def test_newaliases_has_nothing_to_do() -> None:
    done = submit(name="newaliases")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_interrupted_session_ends_with_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emailrelay.submit", "-bs", "--spool-dir", str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"220 ")
        process.send_signal(2)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == b"emailrelay-submit: interrupted; nothing was confirmed, so try again\n"


def test_interrupted_submission_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emailrelay.submit", "a@x.test", "--spool-dir", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"Subject: x\n\n" + b"body\n" * 100_000)
        process.stdin.flush()
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob(".new/emailrelay.*.content")):
            assert process.poll() is None, "it ended before it was interrupted"
            assert time.monotonic() < deadline
        process.send_signal(2)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == b"emailrelay-submit: interrupted; nothing was confirmed, so try again\n"
    assert not list(tmp_path.rglob("emailrelay.*"))


def test_killed_before_any_step_a_message_is_whole_or_nothing(tmp_path: Path) -> None:
    template, copies = tmp_path / "template", tmp_path / "copies"
    template.mkdir()
    copies.mkdir()
    done = subprocess.run(
        [sys.executable, DRIVER, "submit", template, copies, "bob@x.test", "--spool-dir", "DIR"],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    found = [copies / str(k) for k in range(1, int(done.stdout) + 1)]
    counts: list[int] = []
    for copy in found:
        contents = list(copy.glob("emailrelay.*.content"))
        assert len(contents) == len(list(copy.glob("emailrelay.*.envelope"))), copy.name
        assert all(path.read_bytes().endswith(b"\r\nbody\r\n") for path in contents), copy.name
        assert list((copy / ".new").iterdir()) == [], copy.name
        counts.append(len(contents))
    assert counts == sorted(counts), "once it is committed it stays"
    assert counts[0] == 0
    assert counts[-1] == 1


def test_full_disk_is_a_temporary_failure_and_leaves_nothing(tmp_path: Path) -> None:
    command = (
        f"ulimit -f 8; exec {sys.executable} -m emailrelay.submit a@x.test --spool-dir {tmp_path}"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        input=b"Subject: x\n\n" + b"body\n" * 100_000,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 75
    assert b"File too large" in done.stderr
    assert not list(tmp_path.rglob("emailrelay.*"))


def test_command_starts_without_the_slow_libraries() -> None:
    program = "import emailrelay.submit.cli, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"asyncio", "pydantic", "typer", "rich", "structlog", "email", "smtplib"}
