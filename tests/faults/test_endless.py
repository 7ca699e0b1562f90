"""Endless input is given up, and very large mail passes, without being held in memory."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from tests.acceptance.relay import HANG, Relay, Service
from tests.acceptance.source import Load
from tests.faults.crowd import Client, Crowd
from tests.faults.extent import extent
from tests.faults.gauge import MIB, Gauge, forget_peak
from tests.faults.report import Report

CROWD = 100
EACH = extent(1, 30) * MIB
WITHIN = 100 * MIB
ENDLESS = extent(30, 400) * MIB
LIMIT = extent(10, 32) * MIB
TRANSACTIONS = extent(200, 1000)
PIECE = 256 * 1024


class Growth:
    """The growth of a process's peak memory while this was open."""

    def __init__(self, service: Service) -> None:
        self._pid = service.pid
        forget_peak(self._pid)
        self._before = Gauge.of(self._pid)

    @property
    def octets(self) -> int:
        return Gauge.of(self._pid).peak - self._before.resident

    def __str__(self) -> str:
        return f"{self.octets / MIB:+.1f} MiB to {Gauge.of(self._pid)}"


def _pour(client: Client, octets: bytes, total: int) -> int:
    """Send so much of it as the other side takes; give how much that was."""
    sent = 0
    try:
        while sent < total:
            client.say(octets)
            sent += len(octets)
    except ConnectionError:
        pass
    return sent


@pytest.mark.parametrize(
    ("what", "piece"),
    [
        ("content without a line end", b"x" * PIECE),
        ("content of empty lines", b"\r\n" * (PIECE // 2)),
        ("content of dots", b"..\r\n" * (PIECE // 4)),
        ("content of bare LFs", b"\n" * PIECE),
        ("a header of one field", b"X: y\r\n z" * (PIECE // 8)),
    ],
    ids=["line", "empty", "dots", "bare", "header"],
)
def test_endless_content_is_refused_in_little_memory(
    relay: Relay, report: Report, what: str, piece: bytes
) -> None:
    receiver = relay.receiver("--size", str(LIMIT)).start()
    Load(receiver.port, 2, sessions=1).run()
    spooled = relay.waiting()
    memory = Growth(receiver)
    client = Client(receiver.port)
    client.to_data()
    sent = _pour(client, piece, ENDLESS)
    if sent < ENDLESS:
        assert client.to_the_end()[:4] in ("552 ", "")
    else:
        client.say(b"\r\n.\r\n")
        assert client.reply()[:3] in ("552", "")
    client.close()
    report.figure(f"{sent // MIB} MiB, {what}", str(memory))
    assert memory.octets <= 8 * MIB
    assert sent > LIMIT
    assert relay.waiting() == spooled


def test_an_endless_command_is_given_up_in_no_memory(relay: Relay, report: Report) -> None:
    receiver = relay.receiver().start()
    Load(receiver.port, 2, sessions=1).run()
    memory = Growth(receiver)
    client = Client(receiver.port)
    sent = _pour(client, b"x" * PIECE, 200 * MIB)
    assert sent < 200 * MIB
    client.close()
    report.figure("an endless command", str(memory))
    assert memory.octets <= MIB


def test_chunks_that_are_announced_and_never_come_cost_nothing(
    relay: Relay, report: Report
) -> None:
    receiver = relay.receiver("--size", "0").start()
    Load(receiver.port, 2, sessions=1).run()
    memory = Growth(receiver)
    with Crowd() as crowd:
        for client in crowd.come(receiver.port, CROWD // 2):
            client.say(b"EHLO c\r\nMAIL FROM:<s@x>\r\nRCPT TO:<r@y>\r\n")
            assert [client.reply()[:3] for _ in range(3)] == ["250"] * 3
            client.say(b"BDAT 99999999999 LAST\r\nonly this")
        assert len(Load(receiver.port, 1, sessions=1).run()) == 1
    report.figure(f"{CROWD // 2} chunks of 100 GB announced", str(memory))
    assert memory.octets <= 8 * MIB


def test_a_hundred_large_messages_at_once_pass_within_100_mib(relay: Relay, report: Report) -> None:
    sink = relay.sink().start()
    receiver = relay.receiver().start()
    forwarder = relay.forwarder(sink.port).start()
    Load(receiver.port, 20).run()
    relay.drained()
    growths = {service: Growth(service) for service in (receiver, forwarder)}
    line = b"x" * 998 + b"\r\n"
    piece = line * (PIECE // len(line))
    with Crowd() as crowd:
        for client in crowd.come(receiver.port, CROWD):
            client.say(b"EHLO c\r\nMAIL FROM:<s@x>\r\nRCPT TO:<r@y>\r\nDATA\r\n")
            assert [client.reply()[:3] for _ in range(4)] == ["250", "250", "250", "354"]
        for number, client in enumerate(crowd.clients):
            client.say(b"X-Test-Id: %d\r\n\r\n" % number)
        for _ in range(0, EACH, len(piece)):
            for client in crowd.clients:
                client.say(piece)
        for client in crowd.clients:
            client.say(b".\r\n")
        for client in crowd.clients:
            assert client.reply().startswith("250 ")
    arrivals = [a for a in sink.wait_for(20 + CROWD) if a.id.isdecimal()]
    relay.drained()
    assert len({arrival.id for arrival in arrivals}) == len(arrivals) == CROWD
    assert len({arrival.sha256 for arrival in arrivals}) == 1
    assert arrivals[0].size >= EACH
    for service, growth in growths.items():
        report.figure(f"{CROWD} messages of {EACH // MIB} MiB, {service.name}", str(growth))
        assert Gauge.of(service.pid).peak <= WITHIN
    together = sum(growth.octets for growth in growths.values())
    report.figure("both together", f"{together / MIB:+.1f} MiB")


def test_a_thousand_transactions_of_one_session_leave_nothing(relay: Relay, report: Report) -> None:
    receiver = relay.receiver().start()
    client = Client(receiver.port)
    assert client.reply().startswith("220 ")
    assert client.ask("EHLO c").startswith("250 ")

    def transact(count: int) -> None:
        for number in range(count):
            for command in ("MAIL FROM:<s@x>", f"RCPT TO:<r{number}@y>", "DATA"):
                assert client.ask(command)[:3] in ("250", "354")
            assert client.ask("Subject: x\r\n\r\ny\r\n.").startswith("250 ")

    transact(50)
    before = Gauge.of(receiver.pid)
    transact(TRANSACTIONS)
    after = Gauge.of(receiver.pid)
    client.close()
    report.figure(f"{TRANSACTIONS} transactions of a session", f"before {before}; after {after}")
    assert after.resident - before.resident <= 5 * MIB
    assert after.descriptors <= before.descriptors
    assert len(relay.waiting()) == 2 * (50 + TRANSACTIONS)


@contextmanager
def _endless_server(greeting: bytes, reply: bytes) -> Generator[int]:
    """A server that greets, and answers the first command without an end; gives its port."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.sendall(greeting)
                    connection.recv(PIECE)
                    while True:
                        connection.sendall(reply)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(HANG)


@pytest.mark.parametrize(
    ("what", "greeting", "reply"),
    [
        ("a line", b"220 x\r\n", b"x" * PIECE),
        ("a reply of lines", b"220 x\r\n", b"250-x\r\n" * (PIECE // 7)),
        ("a greeting", b"220-" + b"x" * PIECE, b"x" * PIECE),
    ],
    ids=["line", "reply", "greeting"],
)
def test_endless_words_of_a_server_are_cut_off(
    relay: Relay, report: Report, what: str, greeting: bytes, reply: bytes
) -> None:
    with _endless_server(greeting, reply) as port:
        receiver = relay.receiver().start()
        forwarder = relay.forwarder(port).start()
        memory = Growth(forwarder)
        Load(receiver.port, 5, size=100).run()
        forwarder.hear("deferred", times=1)
        forwarder.hear("smarthost_trouble")
        report.figure(f"endless: {what}", str(memory))
        assert memory.octets <= 8 * MIB
        assert len(relay.waiting()) == 10
        relay.stop()
