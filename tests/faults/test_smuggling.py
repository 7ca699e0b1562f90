"""Nothing that resembles the end of a message becomes one on the way: no message arrives as two."""

from collections import Counter

import pytest
from tests.acceptance.relay import Relay, until
from tests.fakes.gullible_server import GullibleServer
from tests.faults.crowd import Client
from tests.faults.report import Report
from tests.faults.stock import envelope, put_pair

ENDS = (
    # Of bare LFs and CRs.
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\n", b"\n.\r", b"\r\n.\r", b"\r.\r\n",
    b"\r\r\n.\r\r\n", b"\r\n.\r\r\n", b"\n\n.\r\n", b"\r\n\n.\n\r\n",
    # With NULs in them.
    b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\0\r\n.\0\r\n", b"\r\0\n.\r\n", b"\r\n.\r\0\n",
    # With characters that other readers take for the end of a line.
    b"\x0b.\r\n", b"\xc2\x85.\r\n", b"\x0c.\x0c", b" .\r\n", b"\r\n. \r\n",
)  # fmt: skip
TRUE_END = b"\r\n.\r\n"
HIDDEN = (
    b"MAIL FROM:<smuggled@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\n"
    b"Subject: smuggled\r\n\r\nstolen\r\n.\r\n"
)


def _send(port: int, number: int, end: bytes) -> str:
    """Send a message with another one hidden in it; give the answer to the first end of content."""
    client = Client(port)
    client.to_data()
    client.say(b"X-Number: %d\r\n\r\ntext" % number + end + HIDDEN)
    reply = client.reply()
    client.say(b"QUIT\r\n")
    client.to_the_end()
    client.close()
    return reply


def _numbers(server: GullibleServer) -> Counter[int]:
    numbers = Counter[int]()
    for message in server.taken:
        assert message.sender in (b"s@x", b"sender@client.test"), f"smuggled: {message}"
        numbers[int(message.content.partition(b"X-Number: ")[2].split(b"\r\n")[0])] += 1
    return numbers


@pytest.mark.parametrize("ack", ["stored", "delivered"])
def test_nothing_is_smuggled_in(relay: Relay, report: Report, ack: str) -> None:
    with GullibleServer() as server:
        receiver = relay.receiver("--ack", ack).start()
        relay.forwarder(server.port).start()
        replies = [_send(receiver.port, number, end) for number, end in enumerate(ENDS)]
        relay.drained()
        relay.stop()
    accepted = {number for number, reply in enumerate(replies) if reply.startswith("250 ")}
    assert {reply[:9] for reply in replies} <= {"250 2.0.0", "550 5.6.0"}
    assert _numbers(server) == Counter(accepted)
    report.figure(
        f"{len(ENDS)} messages with another hidden in them, ack {ack}",
        f"{len(accepted)} arrived as one, {len(ENDS) - len(accepted)} were refused, 0 as two",
    )


def test_nothing_that_a_filter_wrote_is_smuggled_out(relay: Relay, report: Report) -> None:
    relay.spool.mkdir()
    for number, end in enumerate([*ENDS, TRUE_END, b"\n.", b"\r\n.\r\n\0"]):
        content = b"X-Number: %d\r\n\r\ntext" % number + end + HIDDEN
        put_pair(str(relay.spool), number, content, envelope())
    with GullibleServer() as server:
        relay.forwarder(server.port).start()
        until(lambda: not list(relay.spool.glob("*.envelope")), "all are sent or set aside")
        relay.stop()
    failed = len(list(relay.spool.glob("*.envelope.bad")))
    arrived = _numbers(server)
    assert set(arrived.values()) == {1}
    assert len(arrived) + failed == len(ENDS) + 3
    report.figure(f"{len(ENDS) + 3} such messages from the spool", f"{len(arrived)} arrived as one")


@pytest.mark.parametrize(
    ("content", "arrives"),
    [
        (b"", b""),
        (b"Subject: x\r\n\r\nno end", b"Subject: x\r\n\r\nno end"),
        (b"Subject: x\n\nunix\n", b"Subject: x\r\n\r\nunix"),
        (b"Subject: x\r\n\r\nends in CR\r", b"Subject: x\r\n\r\nends in CR"),
        (b"Subject: x\r\n\r\n.\r\n..\r\n.a\r\n", b"Subject: x\r\n\r\n..\r\n...\r\n..a"),
        (b".", b".."),
    ],
    ids=["nothing", "no end", "unix", "CR", "dots", "dot"],
)
def test_any_content_of_the_spool_is_sent_with_one_end(
    relay: Relay, content: bytes, arrives: bytes
) -> None:
    relay.spool.mkdir()
    put_pair(str(relay.spool), 0, content, envelope())
    with GullibleServer() as server:
        relay.forwarder(server.port, "--once").spawn()
        assert relay.services[0].wait() == 0
    assert [message.content for message in server.taken] == [arrives]
