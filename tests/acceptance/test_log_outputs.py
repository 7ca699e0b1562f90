"""The log of real processes: masked addresses, and lines with priorities in systemd's journal."""

import asyncio
import base64
import json
import os
import re
import shutil
import smtplib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.pages import blocks
from tests.acceptance.relay import BIN, HANG, ROOT, Relay
from tests.fakes.smtp_peer import SmtpPeer

_JOURNALD = Path("/lib/systemd/systemd-journald")
_IN_A_JOURNAL = """
mount -t tmpfs none /run/systemd && mount -t tmpfs none /run/log || exit 77
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d
printf '[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\n' \\
    > /run/systemd/journald.conf.d/test.conf
"$JOURNALD" & journald=$!
until journalctl --sync 2> /dev/null; do kill -0 $journald || exit 77; sleep 0.05; done
systemd-cat -t relay sh -c '
    JOURNAL_STREAM=$(stat -Lc %d:%i /proc/$$/fd/1)  # as systemd does for its services
    export JOURNAL_STREAM
    exec "$@"' sh "$@"
journalctl --sync
eval "$QUESTIONS"
kill $journald
"""
_OURS = "-D /run/log/journal -t relay"
"""The entries of the test, in place of the units of an installation."""
_SAYS = """
from emailrelay.config import ReceiverSettings
from emailrelay.events.receiving import LoginFailed, Vanished
from emailrelay.events.service import Started
from emailrelay.events.store import StoreTrouble
from emailrelay.logs import reporter
report = reporter(ReceiverSettings(verbose=True))
report(Started(service="receiver", version="1"))
report(LoginFailed(user="x", mechanism="PLAIN", client="192.0.2.1"))
report(StoreTrouble(doing="write", reason="disk full"))
report(Vanished(client="192.0.2.1"))
"""


def in_a_journal(*command: str, questions: str) -> list[str]:
    """Run a command under a journal of its own; return the lines that the questions print."""
    if os.geteuid() != 0 or not _JOURNALD.exists() or shutil.which("systemd-cat") is None:
        pytest.skip("needs root and systemd's journal")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", _IN_A_JOURNAL, "sh", *command],
        env={**os.environ, "JOURNALD": str(_JOURNALD), "QUESTIONS": questions},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG,
    )
    if done.returncode == 77:
        pytest.skip(f"systemd's journal does not run here: {done.stderr}")
    assert not re.search("(?m)^(jq|journalctl|sh):", done.stderr), done.stderr
    return done.stdout.splitlines()


def entries_of(*command: str) -> list[dict[str, Any]]:
    lines = in_a_journal(*command, questions=f"journalctl -o json {_OURS}")
    return [json.loads(line) for line in lines]


def test_events_have_priorities_in_the_journal() -> None:
    entries = entries_of(sys.executable, "-c", _SAYS)
    told = {json.loads(entry["MESSAGE"])["event"]: entry["PRIORITY"] for entry in entries}
    assert told == {"started": "6", "login_failed": "4", "store_trouble": "3", "vanished": "7"}
    assert "timestamp" not in json.loads(entries[0]["MESSAGE"])


def test_error_of_a_start_is_an_error_in_the_journal() -> None:
    entries = entries_of(str(BIN / "emailrelay-receiver"), "--port", "none")
    assert entries
    assert {entry["PRIORITY"] for entry in entries} == {"3"}
    assert entries[0]["MESSAGE"].startswith("emailrelay-receiver: ")


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_the_questions_on_the_page_have_answers() -> None:
    page = ROOT / "docs" / "logs.md"
    lines = [line for block in blocks(page, "") for line in block.splitlines()]
    rejected = {"level": "info", "event": "rejected", "client": "192.0.2.9", "command": "RCPT"}
    told = "".join(
        f"{_prefix(line)}{line}\n" for line in [*lines, json.dumps(rejected), "Started."]
    )
    asked = [one for block in blocks(page, "sh") for one in block.strip().splitlines()]
    marked = ["echo '?'; " + one.replace("-u 'emailrelay-*'", _OURS) for one in asked]
    answers = in_a_journal("printf", "%s", told, questions="\n".join(marked))
    texts = [text.strip("\n") for text in "\n".join(answers).split("?\n")[1:]]
    assert len(texts) == len(asked) == 7
    warning, to_bob, by_message_id, by_id, reasons, users, clients = texts
    assert warning.splitlines() == [line for line in lines if '"warning"' in line]
    assert to_bob.splitlines() == lines[:2]
    assert by_message_id.splitlines() == by_id.splitlines() == lines
    assert reasons.split(maxsplit=1)[1].startswith("smtp.example.net:25 said: 451 4.2.0 ")
    assert (users.split(), clients.split()) == (["1", "ann"], ["1", "192.0.2.9"])


def _prefix(line: str) -> str:
    return "<4>" if '"level":"warning"' in line else "<6>"


@pytest.mark.parametrize(("shown", "domain_is_there"), [("none", False), ("domain", True)])
async def test_masked_log_shows_no_mailbox(
    relay: Relay, shown: str, *, domain_is_there: bool
) -> None:
    secrets = relay.directory / "secrets"
    secrets.write_text("server plain hidden-user x\n")
    secrets.chmod(0o600)
    flags = ("--verbose", "--log-mail-addresses", shown)
    refusals = {
        b"hidden-bob@there.test": "550 5.1.1 <hidden-bob@there.test>: no such user",
        b"hidden-cat@there.test": "451 4.2.0 hidden-cat@there.test is over quota",
    }
    async with SmtpPeer({}, recipients=refusals) as peer:
        receiver = relay.receiver("--server-auth", str(secrets), *flags).start()
        forwarder = relay.forwarder(peer.port, *flags).start()
        await asyncio.to_thread(_send, receiver.port)
        await asyncio.to_thread(forwarder.hear, "deferred")
        await asyncio.to_thread(relay.stop)
    logs = "".join(path.read_text() for path in relay.directory.glob("*.log"))
    errors = "".join(path.read_text() for path in relay.directory.glob("*.err"))
    assert "hidden" not in logs + errors
    assert ("there.test" in logs) is domain_is_there
    for event in ("received", "rejected", "dialogue", "logged_in"):
        assert receiver.events(event), event
    for event in ("delivered", "recipients_refused", "deferred", "dialogue"):
        assert forwarder.events(event), event


def _send(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=HANG) as client:
        client.ehlo()
        token = base64.b64encode(b"\0hidden-user\0x").decode()
        assert client.docmd(f"AUTH PLAIN {token}")[0] == 235
        client.docmd("VRFY hidden-ann")
        client.docmd("MAIL FROM:<hidden ann@there.test>")
        client.rset()
        to = [f"hidden-{name}@there.test" for name in ("ann", "bob", "cat")]
        client.sendmail("hidden-ann@there.test", to, "Subject: x\r\n\r\nx\r\n")
