"""Real milters do for us what they do for Postfix: the same message gets the same result."""

import asyncio
import base64
import json
import random
import re
import smtplib
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance import milter_peers
from tests.acceptance.milter_peers import EICAR, RunningMilter, needs, needs_libmilter
from tests.acceptance.postfix import Postfix, needs_postfix
from tests.acceptance.relay import HANG, free_port, until
from tests.fakes.filter_servers import FakeSpamd, serving
from tests.fakes.smtp_peer import SmtpPeer

from emailrelay import envelope_format
from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.envelope import Address, Envelope
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.spec import parse_chain
from emailrelay.filters.verdict import Abandon, Accept, Reject, Side, Verdict
from emailrelay.queue_id import QueueId
from emailrelay.store.claim import WorkCopy

MESSAGE = QueueId("1.2.3")
OURS = (
    b"Received: from client.test ([127.0.0.1])\r\n\tby relay.test with ESMTP id 1.2.3;\r\n\tnow\r\n"
)
HEAD = (
    f"Message-ID: <m@x.test>\r\nDate: {formatdate()}\r\nFrom: a@x.test\r\nTo: b@y.test\r\n"
).encode()
FIELDS = (
    b"Subject: first\r\nsubject:second\r\nX-Fold: one\r\n\ttwo\r\n  three \r\nX-Empty:\r\n"
    b"X-Spaces:   spaces  \r\nX-Tab:\tvalue\r\nReceived: old\r\nX-Late:\r\n folded\r\n"
)
BODY = b"\r\nbody\r\n.dot\r\n\r\nend\r\n"
TO = ("b@y.test", "c@y.test")

Script = list[list[Any]]


@dataclass(frozen=True, slots=True)
class Result:
    """The message after a milter; ``content`` is without the Received line of the relay itself."""

    sender: str
    recipients: frozenset[str]
    content: bytes


@pytest.fixture(name="running")
def make_running() -> Iterator[ExitStack]:
    """The processes to stop at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
async def programs() -> AsyncIterator[Programs]:
    async with Programs(ProgramLimits(timeout=HANG)) as programs:
        yield programs


def start(running: ExitStack, milter: RunningMilter) -> RunningMilter:
    running.callback(milter.end)
    milter.start()
    return milter


async def ask(
    programs: Programs,
    milter: RunningMilter,
    folder: Path,
    content: bytes,
    sender: str = "a@x.test",
) -> tuple[Verdict, Result]:
    """Give a message to the milter as filterd does."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    copy = WorkCopy(str(work / "m.content"), str(work / "m.envelope.new"))
    envelope = Envelope(
        Address(sender),
        to_remote=tuple(map(Address, TO)),
        client="127.0.0.1",
        arrival=ArrivalFacts("client.test"),
    )
    copy.content.write_bytes(OURS + content)
    copy.envelope.write_bytes(envelope_format.write(envelope))
    chain = Chain(
        filters=parse_chain([f"milter:{milter.socket}"]), side=Side.SERVER, programs=programs
    )
    verdict = (await chain.run(copy, message=MESSAGE)).verdict
    after = envelope_format.parse(copy.envelope.read_bytes()).envelope
    whole = copy.content.read_bytes()
    assert whole.count(OURS) == 1
    return verdict, Result(after.sender, frozenset(after.recipients), whole.replace(OURS, b""))


class PostfixWithMilter:
    """A Postfix with a milter, and the server that gets its mail."""

    def __init__(self, running: ExitStack, milter: RunningMilter, folder: Path) -> None:
        self.peer_port = free_port()
        settings = {
            "smtpd_milters": f"unix:{milter.socket}",
            "milter_default_action": "tempfail",
            "smtp_destination_recipient_limit": "50",
            "mynetworks": "127.0.0.0/8",
        }
        self.postfix = Postfix(folder / "postfix", self.peer_port, settings)
        self.postfix.start()
        running.callback(self.postfix.stop)

    async def pass_on(self, peer: SmtpPeer, content: bytes) -> Result:
        """Send a message; give what comes out."""
        before = len(peer.messages)
        await asyncio.to_thread(self._send, content)
        await peer.until(messages=before + 1)
        message = peer.messages[-1]
        own = re.compile(rb"^Received: from client\.test .*\r\n(?:[ \t].*\r\n)+", re.MULTILINE)
        return Result(
            message.sender.decode(),
            frozenset(each.decode() for each in message.recipients),
            own.sub(b"", message.content, count=1),
        )

    def _send(self, content: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", self.postfix.port, "client.test", timeout=HANG) as client:
            client.sendmail("a@x.test", TO, content)


def with_script(script: Script) -> bytes:
    return HEAD + b"X-Script: " + json.dumps(script).encode() + b"\r\n" + FIELDS + BODY


SCRIPTS: list[Script] = [
    [["continue"]],
    [["addheader", "X-New", "value"], ["addheader", "X-Other", "a\n\tb"], ["continue"]],
    [["addheader", "X-Top", "v", 0], ["addheader", "X-One", "v", 1], ["accept"]],
    [["addheader", "X-Far", "v", 99], ["addheader", "X-Two", "v", 2], ["continue"]],
    [["chgheader", "Subject", 1, "new"], ["chgheader", "subject", 3, "third"], ["continue"]],
    [["chgheader", "SUBJECT", 1, ""], ["chgheader", "Subject", 1, "left"], ["continue"]],
    [["chgheader", "Received", 1, "changed"], ["chgheader", "X-None", 1, "n"], ["continue"]],
    [["replacebody", "new\r\nbody\n.\nend"], ["continue"]],
    [["replacebody", "one\r"], ["replacebody", "\ntwo\r\n"], ["continue"]],
    [["addrcpt", "<d@y.test>"], ["delrcpt", "<b@y.test>"], ["delrcpt", "<C@y.test>"], ["accept"]],
    [["chgfrom", "<new@x.test>"], ["addheader", "X-A", "v"], ["progress"], ["continue"]],
]


def random_script(chance: random.Random) -> Script:
    """Make up changes that depend on each other's places."""
    names = ["Subject", "X-Fold", "X-Empty", "X-Tab", "Received", "X-Made"]
    script: Script = []
    for n in range(chance.randrange(1, 9)):
        name, value = chance.choice(names), chance.choice(["", f"v{n}", f"a{n}\n\tb", f"c{n}\nd"])
        if chance.random() < 0.5:
            script.append(["chgheader", name, chance.randrange(5), value])
        else:
            place = chance.choice([[], [chance.randrange(12)]])
            script.append(["addheader", name, value or "x", *place])
    if chance.random() < 0.3:
        script.append(["replacebody", chance.choice(["", "x", "a\nb\r\n", "\r\n\r\n"])])
    return [*script, ["continue"]]


@needs_postfix
@needs_libmilter
async def test_message_is_changed_as_by_postfix(
    running: ExitStack, tmp_path: Path, programs: Programs
) -> None:
    milter = start(running, milter_peers.scripted(tmp_path))
    postfix = PostfixWithMilter(running, milter, tmp_path)
    chance = random.Random(6)  # noqa: S311 -- no secret
    scripts = [*SCRIPTS, *(random_script(chance) for _ in range(40))]
    async with SmtpPeer(port=postfix.peer_port) as peer:
        for script in scripts:
            content = with_script(script)
            theirs = await postfix.pass_on(peer, content)
            verdict, ours = await ask(programs, milter, tmp_path, content)
            assert verdict == Accept()
            assert ours == theirs, script


@needs_libmilter
async def test_verdict_at_any_step_does_not_touch_the_next_message(
    running: ExitStack, tmp_path: Path, programs: Programs
) -> None:
    milter = start(running, milter_peers.scripted(tmp_path))
    expected = {"accept": Accept, "reject": Reject, "tempfail": Reject, "discard": Abandon}
    for step in ("mail", "rcpt", "data", "header", "eoh", "body"):
        for word, kind in expected.items():
            content = with_script([["addheader", "X-New", "v"], ["continue"]])
            sender = f"{word}-{step}@x.test"
            verdict, _ = await ask(programs, milter, tmp_path, content, sender)
            assert isinstance(verdict, kind), sender
            verdict, after = await ask(programs, milter, tmp_path, content)
            assert verdict == Accept()
            assert b"X-New: v\r\n" in after.content


@needs("opendkim", "openssl", "perl")
async def test_signature_of_opendkim_is_valid(
    running: ExitStack, tmp_path: Path, programs: Programs
) -> None:
    key, public = milter_peers.make_key(tmp_path)
    milter = start(running, milter_peers.opendkim(tmp_path, key))
    for body in ODD_BODIES:
        content = HEAD + FIELDS + b"\r\n" + body
        verdict, signed = await ask(programs, milter, tmp_path, content)
        assert verdict == Accept()
        assert signed.content.endswith(content)
        assert signed.content.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;")
        assert milter_peers.dkim_result(signed.content, public) == "pass"
        spoilt = signed.content.replace(b"From: a@", b"From: b@")
        assert milter_peers.dkim_result(spoilt, public) != "pass"


ODD_BODIES = [
    b"hello\r\n",
    b"",
    b"no final line end",
    b"\r\n\r\n\r\n",
    b"x" * 5000 + b"\r\n",
    "8 bit: äöü\r\n".encode(),
    b"trailing blanks  \r\n\t\r\n\r\n",
    b"big\r\n" * 50_000,
]


@needs("clamd", "clamav-milter")
async def test_virus_is_rejected(running: ExitStack, tmp_path: Path, programs: Programs) -> None:
    clamd, milter = milter_peers.clamav(tmp_path)
    running.callback(clamd.clear_away)
    clamd.spawn()
    until((tmp_path / "clamd").exists, "clamd listens")
    start(running, milter)
    attached = (
        (
            b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(EICAR)
        )
        .replace(b"\n", b"\r\n")
        .replace(b"\r\r", b"\r")
    )
    verdict, _ = await ask(programs, milter, tmp_path, HEAD + attached)
    assert isinstance(verdict, Reject)
    assert str(verdict.reply).startswith("550 5.7.1 virus found: Eicar-Test")
    verdict, clean = await ask(programs, milter, tmp_path, HEAD + FIELDS + BODY)
    assert verdict == Accept()
    assert b"X-Virus-Status: Clean\r\n" in clean.content


@needs("rspamd")
async def test_rspamd_rejects_the_test_message_of_spam_filters(
    running: ExitStack, tmp_path: Path, programs: Programs
) -> None:
    milter = start(running, milter_peers.rspamd(tmp_path))
    pattern = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
    verdict, _ = await ask(programs, milter, tmp_path, HEAD + b"\r\n" + pattern + b"\r\n")
    assert isinstance(verdict, Reject)
    assert str(verdict.reply) == "554 5.7.1 Gtube pattern"
    verdict, _ = await ask(programs, milter, tmp_path, HEAD + FIELDS + BODY)
    assert verdict == Accept()


@needs("spamass-milter", "spamc")
async def test_marks_of_spamassassin_come_through_its_milter(
    running: ExitStack, tmp_path: Path, programs: Programs
) -> None:
    async with serving(FakeSpamd()) as spamd:
        milter = start(running, milter_peers.spamass(tmp_path, spamd))
        verdict, marked = await ask(programs, milter, tmp_path, HEAD + FIELDS + BODY)
    assert verdict == Accept()
    assert b"X-Spam-Flag: YES\r\n" in marked.content
