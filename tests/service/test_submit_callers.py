"""Unusual callers of emailrelay-submit: closed streams, octets that are not text, long headers."""

import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from pwd import getpwuid

import pytest
from tests.service.submitting import ENVIRONMENT, MESSAGE, command, submit

from emailrelay.journal import Attempt
from emailrelay.journal_format import write
from emailrelay.reply import Reply

NO_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")


def only(spool: Path, pattern: str) -> bytes:
    (path,) = spool.glob(f"emailrelay.*.{pattern}")
    return path.read_bytes()


def shell(
    redirection: str, *arguments: str, text: str = MESSAGE
) -> subprocess.CompletedProcess[str]:
    """Start the command with the redirection that a shell makes."""
    words = ["bash", "-c", f'exec "$@" {redirection}', "bash", *command("sendmail", None)]
    return subprocess.run(
        [*words, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT,
    )


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert not list(tmp_path.glob(".new/*")), "no draft is left"


@pytest.mark.parametrize(
    "arguments",
    [[b"b\xf6b@example.net"], ["-f", b"b\xf6b@x.test", "bob@x.test"], ["a\x01b@x.test"]],
)
def test_argument_that_is_no_address_is_refused_with_a_sentence(
    spool: Path, arguments: list[str | bytes]
) -> None:
    done = submit("--spool-dir", str(spool), *arguments)
    assert done.returncode == 65
    assert done.stderr.startswith("emailrelay-submit: the ")
    assert done.stderr.count("\n") == 1
    assert not list(spool.glob("emailrelay.*"))


@pytest.mark.parametrize("field", [b"To", b"Cc", b"Resent-To"])
def test_address_in_latin_1_is_refused_and_its_field_named(spool: Path, field: bytes) -> None:
    done = subprocess.run(
        [*command("sendmail", None), "-t", "--spool-dir", str(spool)],
        input=field + b": good@x.test, b\xf6b@x.test\n\nx\n",
        capture_output=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 65
    assert done.stderr.startswith(b"emailrelay-submit: " + field + b": ")
    assert not list(spool.glob("emailrelay.*"))


@pytest.mark.parametrize("option", ["--domain", "EMAILRELAY_DOMAIN"])
def test_domain_that_is_none_is_refused(spool: Path, option: str) -> None:
    words = ["--domain", "a b"] if option == "--domain" else []
    environment = {} if words else {"EMAILRELAY_DOMAIN": "a\nb"}
    done = submit("-s", str(spool), *words, "bob", environment=environment)
    assert done.returncode == 64
    assert "not a domain" in done.stderr


def test_octets_in_a_full_name_do_not_stop_the_message(spool: Path) -> None:
    done = submit("-s", str(spool), "-F", b"B\xf6b", "bob@x.test")
    assert (done.returncode, done.stderr) == (0, "")
    read = message_from_bytes(only(spool, "content"), policy=default)
    assert read["From"].addresses[0].display_name == "B\ufffdb"


@pytest.mark.parametrize(
    ("sender", "expected"),
    [("ann@x.test", "ann@x.test"), ("ann", "ann@h.test"), ("zoë@x.test", "zoë@x.test")],
)
def test_added_from_field_names_the_sender_that_was_given(
    spool: Path, sender: str, expected: str
) -> None:
    words = ("-s", str(spool), "--domain", "h.test", "-F", "Ann B", "-f", sender)
    assert submit(*words, "bob@x.test", text="Subject: x\n\nx\n").returncode == 0
    assert f'\r\nFrom: "Ann B" <{expected}>\r\n'.encode() in only(spool, "content")


def test_added_from_field_names_the_user_if_the_sender_is_the_null_sender(spool: Path) -> None:
    words = ("-s", str(spool), "--domain", "h.test", "-F", "", "-f", "<>", "bob@x.test")
    assert submit(*words, text="Subject: x\n\nx\n").returncode == 0
    user = getpwuid(os.getuid()).pw_name
    assert f"\r\nFrom: {user}@h.test\r\n".encode() in only(spool, "content")


@pytest.mark.parametrize("redirection", ["<&-", "0>/dev/null"])
def test_closed_standard_input_is_no_empty_message(spool: Path, redirection: str) -> None:
    done = shell(redirection, "--spool-dir", str(spool), "bob@x.test")
    assert done.returncode == 66
    assert "no message can be read from standard input" in done.stderr
    assert not list(spool.glob("emailrelay.*"))


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", ">/dev/full 2>/dev/full"])
def test_message_is_taken_with_any_fate_of_the_output(spool: Path, redirection: str) -> None:
    done = shell(redirection, "--verbose", "--spool-dir", str(spool), "bob@x.test")
    assert done.returncode == 0
    assert only(spool, "content").endswith(b"\r\n\r\nline\r\n")


def test_complaint_on_a_closed_standard_error_keeps_its_exit_status(spool: Path) -> None:
    assert shell("2>&-", "--spool-dir", str(spool)).returncode == 64
    assert shell(">&- 2>&-", "--spool-dir", str(spool), "a b@x.test").returncode == 65


def test_session_with_standard_input_closed_ends(spool: Path) -> None:
    assert shell("<&-", "-bs", "--spool-dir", str(spool)).returncode == 0


def test_recipients_are_found_in_a_list_that_is_a_little_wrong(spool: Path) -> None:
    text = 'To: a@x.test,\nCc: ,"B, C" <b@x.test>; c@x.test;\nBcc: g: d@x.test;\nSubject: x\n\nx\n'
    done = submit("-t", "--spool-dir", str(spool), text=text)
    assert (done.returncode, done.stderr) == (0, "")
    envelope = only(spool, "envelope").decode()
    told = [line for line in envelope.splitlines() if "To-Remote" in line]
    assert told == [f"X-MailRelay-To-Remote: {name}@x.test" for name in "abcd"]


def test_one_bad_address_keeps_the_message_from_all_and_is_told(spool: Path) -> None:
    text = "To: a@x.test\nCc: b@x.test c@x.test\n\nx\n"
    done = submit("-t", "--spool-dir", str(spool), text=text)
    assert done.returncode == 65
    assert done.stderr.startswith("emailrelay-submit: Cc: 'b@x.test c@x.test': ")
    assert not list(spool.glob("emailrelay.*"))


def test_names_without_a_domain_get_one_in_header_and_envelope(spool: Path) -> None:
    text = "From: root (Cron Daemon)\nTo: root\nSubject: x\n\nx\n"
    done = submit("-t", "-f", "root", "--domain", "h.test", "-s", str(spool), text=text)
    assert (done.returncode, done.stderr) == (0, "")
    content, envelope = only(spool, "content"), only(spool, "envelope")
    assert b"\r\nFrom: root@h.test (Cron Daemon)\r\nTo: root@h.test\r\n" in content
    assert b"X-MailRelay-From: root@h.test\r\n" in envelope
    assert b"X-MailRelay-To-Remote: root@h.test\r\n" in envelope


def test_blind_copies_go_also_when_the_recipients_are_arguments(spool: Path) -> None:
    text = "To: a@x.test\nBcc: secret@x.test\nResent-Bcc: other@x.test\n\nx\n"
    assert submit("a@x.test", "-s", str(spool), text=text).returncode == 0
    assert b"secret" not in only(spool, "content")
    assert b"other" not in only(spool, "content")
    assert b"secret" not in only(spool, "envelope")


def test_five_thousand_recipients_on_one_line_all_get_the_message(spool: Path) -> None:
    names = [f"user{number}@x.test" for number in range(5000)]
    done = submit("-t", "-s", str(spool), text=f"To: {', '.join(names)}\nSubject: x\n\nx\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert b"X-MailRelay-ToCount: 5000\r\n" in only(spool, "envelope")


def test_scripts_of_the_old_program_are_understood(spool: Path) -> None:
    done = submit("-s", str(spool), "--from", "ann@x.test", "bob@x.test")
    assert (done.returncode, done.stderr) == (0, "")
    assert b"X-MailRelay-From: ann@x.test\r\n" in only(spool, "envelope")


CONSOLES = [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}]


@pytest.mark.parametrize("console", CONSOLES)
def test_mailq_speaks_on_a_console_that_lacks_characters(
    spool: Path, console: dict[str, str]
) -> None:
    assert submit("-f", "zoë@x.test", "jürgen@x.test", "-s", str(spool)).returncode == 0
    done = submit("--spool-dir", str(spool), name="mailq", environment=console)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 message;" in done.stdout


def envelope_file(spool: Path, message: str, sender: str, journal: bytes = b"") -> Path:
    path = spool / f"emailrelay.{message}.envelope"
    text = "X-MailRelay-Format: #2821.3\r\nX-MailRelay-Content: 8bit\r\n"
    text += f"X-MailRelay-From: {sender}\r\n"
    fields = "ToCount: 1\r\nX-MailRelay-To-Remote: bob@x.test\r\nX-MailRelay-End: 1"
    path.write_bytes(f"{text}X-MailRelay-{fields}\r\n".encode() + journal)
    (spool / f"emailrelay.{message}.content").write_bytes(b"x\r\n")
    return path


def test_mailq_shows_what_others_wrote_without_obeying_it(spool: Path) -> None:
    attempt = Attempt(at=1.0, peer="\x1b]0;mx\x07", trouble=Reply(451, "4.3.0 \u202ebusy"))
    envelope_file(spool, "1.1.1", "ann\u202e@x.test", write(attempt))
    done = submit("--spool-dir", str(spool), name="mailq")
    assert "<ann\\u202e@x.test>" in done.stdout
    assert "(\\x1b]0;mx\\x07: 451 4.3.0 \\u202ebusy)" in done.stdout


def test_mailq_shows_the_others_beside_an_entry_that_cannot_be_read(spool: Path) -> None:
    envelope_file(spool, "1.1.1", "ann@x.test")
    (spool / "emailrelay.2.1.1.envelope").mkdir()
    (spool / "emailrelay.4.1.1.envelope").symlink_to("/etc/passwd")
    directory = os.open(spool, os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as bound:
        # The whole path may be too long for a socket's address.
        bound.bind(f"/proc/self/fd/{directory}/emailrelay.3.1.1.envelope")
        os.close(directory)
        done = submit("--spool-dir", str(spool), name="mailq")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ready from <ann@x.test>" in done.stdout
    for message in "234":
        assert f"{message}.1.1 - ready (cannot be read: " in done.stdout


@NO_ROOT
def test_mailq_names_an_entry_that_this_user_may_not_read(spool: Path) -> None:
    spool.chmod(0o755)
    for parent in spool.parents[:3]:
        parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    envelope_file(spool, "1.1.1", "ann@x.test")
    envelope_file(spool, "2.1.1", "root@x.test").chmod(0o600)
    done = submit("--spool-dir", str(spool), name="mailq", user=65534)
    assert done.returncode == 0
    assert "ready from <ann@x.test>" in done.stdout
    assert "2.1.1 - ready (cannot be read: Permission denied)" in done.stdout


def test_mailq_calls_mail_deferred_that_waits_for_its_next_try(spool: Path) -> None:
    now = time.time()
    attempt = Attempt(at=now, peer="mx", next_attempt=now + 900)
    envelope_file(spool, "1.1.1", "ann@x.test", write(attempt))
    done = submit("--spool-dir", str(spool), name="mailq")
    assert " deferred until 2" in done.stdout


def test_queue_run_makes_deferred_mail_due_and_is_silent_without_any(spool: Path) -> None:
    done = submit("-q", "-s", str(spool), name="sendmail")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    later = time.time() + 3600
    for number in (1, 2):
        path = envelope_file(
            spool,
            f"{number}.1.1",
            "ann@x.test",
            write(Attempt(at=1.0, peer="mx", next_attempt=later)),
        )
        os.utime(path, (later, later))
    done = submit("-q", "-s", str(spool), name="sendmail")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    states = submit("--spool-dir", str(spool), name="mailq").stdout
    assert states.count(" ready from ") == 2


def test_queue_run_submits_a_message_that_has_recipients(spool: Path) -> None:
    assert submit("-q", "-s", str(spool), "bob@x.test", name="sendmail").returncode == 0
    assert b"To-Remote: bob@x.test\r\n" in only(spool, "envelope")


@NO_ROOT
@pytest.mark.parametrize(("mode", "status"), [(0o750, 77), (0o755, 66)])
def test_queue_run_without_the_right_to_change_mail_says_so(
    spool: Path, mode: int, status: int
) -> None:
    spool.chmod(mode)
    for parent in spool.parents[:3]:
        parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    done = submit("-q", "-s", str(spool), name="sendmail", user=65534)
    assert done.returncode == status
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def test_queue_run_makes_no_spool(tmp_path: Path) -> None:
    done = submit("-q", "-s", str(tmp_path / "none"), name="sendmail")
    assert done.returncode == 66
    assert not (tmp_path / "none").exists()


def test_reader_of_mailq_may_stop_early(spool: Path) -> None:
    for number in range(3000):
        (spool / f"emailrelay.{number}.1.1.envelope.bad").write_bytes(b"damaged\r\n")
    words = [*command("mailq", None), "--spool-dir", str(spool)]
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", '"$@" | head -c 1', "bash", *words],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_time_of_no_calendar_in_a_journal_is_shown(spool: Path) -> None:
    attempt = Attempt(at=1.0, peer="mx", next_attempt=1.0)
    line = write(attempt).replace(b'"next":1.0', b'"next":1e300')
    envelope_file(spool, "1.1.1", "ann@x.test", b'X-MailRelay-Accepted: {"at":1e300}\r\n' + line)
    assert submit("--spool-dir", str(spool), name="mailq").returncode == 0
