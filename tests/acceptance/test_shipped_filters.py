"""Filters that ship, in real services: from the client to the server at the far side."""

import asyncio
import smtplib
import sys
from collections import Counter
from pathlib import Path

from tests.acceptance.relay import HANG, Relay, Service
from tests.acceptance.source import Load, Mail, assert_all_arrived, repeated
from tests.fakes.signatures import ED, HEAD, ODD, RSA, dkimpy_says, perl_says, write_key
from tests.fakes.smtp_peer import SmtpPeer

from emailrelay import envelope_format
from emailrelay.envelope import Address, Envelope

SENDER = "me@example.org"
LOCAL, ONE, TWO = "ann@here.test", "x@one.test", "y@two.test"
JOBS = 4
"""The messages that filterd filters at the same time."""
KILLS = 2
VERIFIER = """#!/bin/sh
case "$1" in ann@here.test) echo Ann; echo ann ;; *) exit 1 ;; esac
"""
LOOP = f"""#!{sys.executable}
import os, pathlib, signal, sys
for line in sys.stdin:
    blow = pathlib.Path(sys.argv[0] + ".blow")
    if blow.exists():
        blow.unlink()
        os.kill(os.getppid(), signal.SIGKILL)
    print("ok", flush=True)
"""
"""A program that kills filterd when it is told to."""
PIPE = """
[[pipe]]
name = "loop"
program = "{folder}/loop"
"""
SETTINGS = """
filter = ["split:", "rewrite:{folder}/map", "header:ours", "disclaimer:{folder}/footer",
    "pipe:loop", "dkim:", "archive:all", "deliver:{folder}/boxes"]
[[header]]
name = "ours"
set = {{ Precedence = "bulk" }}
[[archive]]
name = "all"
directory = "{folder}/archive"
envelope = true
"""
KEYS = """
[[dkim]]
name = "{name}"
domain = "example.org"
selector = "{name}"
key_file = "{folder}/{name}.pem"
"""


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def start(relay: Relay, settings: str, port: int, jobs: int = JOBS) -> tuple[Service, Service]:
    """Start the services with a settings file; return receiver and filterd."""
    folder = relay.directory
    for name, key in (("rsa", RSA), ("ed", ED)):
        write_key(folder / f"{name}.pem", key)
        settings += KEYS.replace("{name}", name)
    file = folder / "relay.toml"
    file.write_text(settings.format(folder=folder))
    verifier = script(folder / "verifier", VERIFIER)
    script(folder / "loop", LOOP)
    config = f"--config={file}"
    receiver = relay.receiver(config, f"--address-verifier={verifier}").start()
    filterd = relay.filterd(config, f"--filter-jobs={jobs}").start()
    relay.forwarder(port).start()
    return receiver, filterd


def maildir(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "new").iterdir())]


async def test_chain_of_shipped_filters_does_the_work_of_each(relay: Relay, tmp_path: Path) -> None:
    (tmp_path / "map").write_text(f"sales@one.test {ONE}, z@one.test\n")
    (tmp_path / "footer").write_text("Example Ltd, Grüße\n")
    async with SmtpPeer() as peer:
        receiver, _ = await asyncio.to_thread(start, relay, SETTINGS + PIPE, peer.port)
        with smtplib.SMTP("127.0.0.1", receiver.port, timeout=HANG) as client:
            text = HEAD.replace(b"you@y", b"sales@one") + b"\r\nbody\r\n"
            await asyncio.to_thread(client.sendmail, SENDER, [LOCAL, "sales@one.test", TWO], text)
        await peer.until(messages=2)
        await asyncio.to_thread(relay.drained)
    first, second = sorted(peer.messages, key=lambda each: len(each.recipients), reverse=True)
    assert sorted(first.recipients) == [ONE.encode(), b"z@one.test"]
    assert second.recipients == [TWO.encode()]
    for message in (first, second):
        assert dkimpy_says(message.content) == [True, True]
        assert "pass" in perl_says(message.content)
        assert message.content.count(b"\r\nPrecedence: bulk\r\n") == 1
        assert message.content.endswith(b"body\r\nExample Ltd, Gr=C3=BC=C3=9Fe\r\n")
    (delivered,) = maildir(tmp_path / "boxes/ann")
    assert delivered == f"Return-Path: <{SENDER}>\r\n".encode() + first.content
    archived = maildir(tmp_path / "archive")
    assert [copy[copy.index(b"DKIM-") :] for copy in archived] == [
        message.content for message in (first, second)
    ]
    assert archived[0].startswith(
        b"X-Envelope-From: <me@example.org>\r\nX-Envelope-To: <ann>\r\nX-Envelope-To: <x@one.test>"
    )


async def test_signatures_of_odd_messages_are_good_at_the_far_side(relay: Relay) -> None:
    """These come by SMTP if it can carry them, and else as files, as other programs put them."""
    async with SmtpPeer() as peer:
        receiver, _ = await asyncio.to_thread(start, relay, 'filter = ["dkim:"]\n', peer.port)
        by_smtp = await asyncio.to_thread(_send_odd, receiver.port)
        assert len(by_smtp) > 10
        for number, content in enumerate(ODD.values(), 1):
            _put(relay.spool, f"9.9.{number}", content, f"{number}@y.test")
        await peer.until(messages=len(by_smtp) + len(ODD))
        await asyncio.to_thread(relay.drained)
    told = Counter[str]()
    for message in peer.messages:
        name = list(ODD)[int(message.recipients[0].partition(b"@")[0]) - 1]
        told[name] += 1
        if told[name] == 1:  # Perl takes a while to start
            assert "pass" in perl_says(message.content), name
        if name != "blank before colon":  # dkimpy does not find such a field by its name
            assert dkimpy_says(message.content) == [True, True], name


def _send_odd(port: int) -> list[str]:
    """Send the odd messages that the receiver takes; return their names."""
    taken = list[str]()
    with smtplib.SMTP("127.0.0.1", port, timeout=HANG) as client:
        for number, (name, content) in enumerate(ODD.items(), 1):
            try:
                client.sendmail(SENDER, f"{number}@y.test", content, ["BODY=8BITMIME"])
            except smtplib.SMTPDataError:
                continue
            taken.append(name)
    return taken


def _put(spool: Path, message: str, content: bytes, recipient: str) -> None:
    envelope = Envelope(Address(SENDER), to_remote=(Address(recipient),))
    base = spool / f"emailrelay.{message}"
    Path(f"{base}.content").write_bytes(content)
    draft = Path(f"{base}.envelope.new")
    draft.write_bytes(envelope_format.write(envelope))
    draft.rename(f"{base}.envelope.filter")


DURABLE = """
filter = ["split:", "archive:{folder}/archive", "deliver:{folder}/boxes", "pipe:loop"]
"""


def test_filterd_killed_within_the_chain_loses_nothing_and_sends_nothing_twice(
    relay: Relay, tmp_path: Path
) -> None:
    """The program kills filterd when all other filters have done their work."""
    sink = relay.sink().start()
    receiver, filterd = start(relay, DURABLE + PIPE, sink.port, jobs=1)
    acknowledged = dict[str, Mail]()
    for kill in range(KILLS):
        (tmp_path / "loop.blow").touch()
        load = Load(receiver.port, 6, sessions=6, first=100 * kill, recipients=to_all)
        acknowledged |= load.run()
        filterd.wait()
        filterd.start()
    relay.drained()
    arrivals = sink.arrivals()
    for address in (ONE, TWO):
        there = [each for each in arrivals if each.recipients == [address]]
        assert_all_arrived(acknowledged, there)
        assert not repeated(there)
    assert len(arrivals) == 2 * len(acknowledged)
    assert len(maildir(tmp_path / "boxes/ann")) == len(acknowledged)
    assert len(maildir(tmp_path / "archive")) == len(arrivals)


def test_filterd_killed_at_any_moment_loses_nothing(relay: Relay, tmp_path: Path) -> None:
    """Only the parts that split: made a moment before a kill can come twice."""
    sink = relay.sink().start()
    receiver, filterd = start(relay, DURABLE + PIPE, sink.port)
    load = Load(receiver.port, 150, size=2000, recipients=to_all)
    load.start()
    for kill in range(1, KILLS + 1):
        load.wait_for(load.count * kill // (KILLS + 1))
        filterd.hear("passed", times=10 * kill)
        filterd.restart()
    load.finish()
    relay.drained()
    arrivals = sink.arrivals()
    first, parts = ([a for a in arrivals if a.recipients == [to]] for to in (ONE, TWO))
    assert len(first) + len(parts) == len(arrivals)
    assert_all_arrived(load.acknowledged, first)
    assert not repeated(first)
    assert_all_arrived(load.acknowledged, parts)
    assert len(repeated(parts)) <= JOBS * KILLS
    assert len(maildir(tmp_path / "boxes/ann")) == len(load.acknowledged)
    assert len(maildir(tmp_path / "archive")) == len(arrivals)
    relay.stop()
    assert not loops(tmp_path)


def to_all(_: Mail) -> list[str]:
    return [LOCAL, ONE, TWO]


def loops(folder: Path) -> list[str]:
    """Return the processes of the program that stays running."""
    own = f"{folder}/loop".encode()
    found = list[str]()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if own in words.split(b"\0"):
            found.append(path.parent.name)
    return found
