"""Messages sent one by one, to a next server that notes when each comes: one clock for both ends.

smtp-source and smtp-sink tell no times, so this is the harness's own. It does the same to every
contestant.
"""

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field

_LINE = b"x" * 70 + b"\r\n"
_MOST = 1 << 24
_NUMBER = re.compile(rb"RCPT TO:<to(\d+)@", re.IGNORECASE)
_PATIENCE = 200.0


@dataclass(slots=True)
class Times:
    """The times of a message: connection begun, 250, final dot at the next server."""

    begun: float
    answered: float = 0.0


@dataclass(slots=True)
class Stamps:
    """A next server that accepts mail after ``delay`` seconds, and notes the time of final dots."""

    delay: float
    loop: asyncio.AbstractEventLoop
    port: int = 0
    arrived: dict[int, float] = field(default_factory=dict[int, float])
    count: int = 0
    """Messages of all senders."""
    first: threading.Event = field(default_factory=threading.Event)
    _wanted: int = 0
    _complete: threading.Event = field(default_factory=threading.Event)

    def expect(self, messages: int) -> None:
        """Expect this many further messages; ``wait`` waits for them."""
        self._complete.clear()
        self._wanted = self.count + messages

    def wait(self) -> None:
        """Wait until they have arrived."""
        if not self._complete.wait(_PATIENCE):
            raise TimeoutError(f"{self.count} of {self._wanted} messages have come")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak SMTP with one client."""
        number = -1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(b"220 bench.invalid ESMTP\r\n")
            while line := await reader.readline():
                word = line[:4].upper()
                if word == b"EHLO":
                    writer.write(b"250-bench.invalid\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                elif word == b"DATA":
                    writer.write(b"354 go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    self._note(number)
                    if self.delay:
                        await asyncio.sleep(self.delay)
                    writer.write(b"250 2.0.0 taken\r\n")
                elif word == b"QUIT":
                    writer.write(b"221 2.0.0 bye\r\n")
                    break
                else:
                    if match := _NUMBER.match(line):
                        number = int(match[1])
                    writer.write(b"250 2.0.0 fine\r\n")
        writer.close()

    def _note(self, number: int) -> None:
        self.arrived[number] = time.monotonic()
        self.count += 1
        self.first.set()
        if self.count >= self._wanted > 0:
            self._complete.set()

    def probe(self, port: int, *, messages: int, rate: float, octets: int) -> list[Times]:
        """Send messages at an even rate, each over its own connection, until all have arrived."""
        self.expect(messages)
        sent = asyncio.run_coroutine_threadsafe(_send(port, messages, rate, octets), self.loop)
        times = sent.result(_PATIENCE + messages / rate)
        self.wait()
        return times


async def _send(port: int, messages: int, rate: float, octets: int) -> list[Times]:
    # An even rate, at any answer time: a slow answer must not delay the questions behind it.
    loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    tasks: list[asyncio.Task[Times]] = []
    for number in range(messages):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        tasks.append(asyncio.create_task(_send_one(port, number, octets)))
    return await asyncio.gather(*tasks)


async def _send_one(port: int, number: int, octets: int) -> Times:
    times = Times(begun=time.monotonic())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await _expect(reader, b"220")
    for line, code in (
        ("HELO bench.invalid", b"250"),
        ("MAIL FROM:<from@bench.invalid>", b"250"),
        (f"RCPT TO:<to{number}@bench.invalid>", b"250"),
        ("DATA", b"354"),
    ):
        writer.write(f"{line}\r\n".encode())
        await _expect(reader, code)
    writer.write(b"Subject: probe\r\n\r\n" + _LINE * (octets // len(_LINE)) + b".\r\n")
    await _expect(reader, b"250")
    times.answered = time.monotonic()
    writer.write(b"QUIT\r\n")
    await reader.readline()
    writer.close()
    return times


async def _expect(reader: asyncio.StreamReader, code: bytes) -> None:
    line = await reader.readline()
    while line[3:4] == b"-":
        line = await reader.readline()
    if not line.startswith(code):
        raise ConnectionError(f"instead of {code.decode()}: {line!r}")


@contextlib.contextmanager
def stamps(*, delay: float = 0.0) -> Generator[Stamps]:
    """Run the next server, in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = Stamps(delay, loop)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    # Our replies to pipelined commands must not wait for each other's acknowledgement. Connections
    # inherit this; asyncio sets it only where the socket was made with its protocol's number.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.port = listener.getsockname()[1]
    thread = threading.Thread(target=_run, args=(server, listener), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _run(server: Stamps, listener: socket.socket) -> None:
    loop = server.loop
    asyncio.set_event_loop(loop)
    loop.run_until_complete(asyncio.start_server(server.serve, sock=listener, limit=_MOST))
    loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    listener.close()
    loop.close()
