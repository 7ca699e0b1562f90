"""The output at any terminal, and for a reader that stops."""

import asyncio
import subprocess
import sys
import time

import pytest
from tests.service.queue_command.stored_mail import ANN, Mail, put_attempted, queue

from emailrelay.envelope import Address, Envelope
from emailrelay.envelope_format import write
from emailrelay.journal import Attempt
from emailrelay.reply import Reply


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
