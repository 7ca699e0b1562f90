"""Messages and spools that cannot be read."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.service.queue_command.stored_mail import Mail, content, queue

from emailrelay.queue.cli import main
from emailrelay.queue_id import QueueId


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
