"""The log has one line per event, without control characters or tracebacks, for any input."""

import asyncio
import json
import re
from contextlib import AsyncExitStack

from tests.acceptance.relay import Relay, free_port
from tests.acceptance.source import Mail
from tests.fakes.smtp_peer import Say, SmtpPeer
from tests.faults.crowd import Client
from tests.faults.stock import envelope, put_pair

_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
_LONGEST_LINE = 8192
NASTY = (
    b"\x1b[2J\x1b]0;title\x07",
    b"%n%s%x{0}{}",
    b"\x0b\x0c\x1c\x1d\x1e\x85",
    "\u2028\u2029\u0085\u202e".encode(),
    b"\xff\xfe\xc0\xaf",
    b'"}\\n{"event":"received"',
    b"x" * 400,
)


def _converse(port: int, nasty: bytes) -> None:
    client = Client(port)
    client.reply()
    for command in (
        b"EHLO " + nasty,
        b"EHLO good.test",
        b"MAIL FROM:<" + nasty + b"@x.test> SMTPUTF8",
        b'MAIL FROM:<"' + nasty + b'"@x.test>',
        b"RSET",
        b"MAIL FROM:<s@x.test>",
        b"RCPT TO:<" + nasty + b">",
        b'RCPT TO:<"' + nasty + b'"@y.test>',
        b"RCPT TO:<r@y.test> NOTIFY=" + nasty,
        b"VRFY " + nasty,
        b"AUTH " + nasty,
        nasty + b" " + nasty,
    ):
        client.say(command + b"\r\n")
        if not client.reply():
            return
    client.say(
        b"RCPT TO:<r@y.test>\r\nDATA\r\nSubject: " + nasty + b"\r\n\r\n" + nasty + b"\r\n.\r\n"
    )
    client.reply()
    client.close()


def _clean(relay: Relay) -> int:
    lines = [line for s in relay.services for line in s.log.read_bytes().split(b"\n")[:-1]]
    for line in lines:
        assert not _CONTROL.search(line), line
        assert len(line) <= _LONGEST_LINE
        assert isinstance(json.loads(line), dict)
    whole = b"".join(lines)
    assert b"Traceback" not in whole
    assert b"never retrieved" not in whole
    return len(lines)


def test_nothing_that_a_client_says_breaks_a_line_of_the_log(relay: Relay) -> None:
    receiver = relay.receiver("--verbose", "--debug").start()
    for nasty in NASTY:
        _converse(receiver.port, nasty)
    relay.stop()
    assert _clean(relay) > 10 * len(NASTY)
    assert not receiver.events("internal_error")


async def test_nothing_that_a_server_says_breaks_a_line_of_the_log(relay: Relay) -> None:
    refusing = [SmtpPeer({"RCPT": Say(b"550 5.1.1 " + nasty + b"\r\n")}) for nasty in NASTY]
    odd = [SmtpPeer({"greeting": Say(nasty + b"\r\n", then_close=True)}) for nasty in NASTY]
    relay.spool.mkdir()
    async with AsyncExitStack() as peers:
        for number, peer in enumerate([*refusing, *odd]):
            await peers.enter_async_context(peer)
            octets = envelope(forward_to=peer.address)
            put_pair(str(relay.spool), number, Mail(number, 100).content, octets)
        forwarder = relay.forwarder(free_port(), "--verbose", "--debug").start()
        await asyncio.to_thread(forwarder.hear, "failed", len(refusing))
        await asyncio.to_thread(forwarder.hear, "smarthost_trouble", len(odd))
        relay.stop()
    assert _clean(relay) > len(NASTY)
    assert not forwarder.events("internal_error")
