"""Very many clients at once: raw connections that send the octets of a test, and listen."""

import contextlib
import resource
import selectors
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Self

import pytest
from tests.acceptance.relay import HANG


@contextmanager
def descriptors(count: int) -> Generator[None]:
    """Let this process, and its children of that time, have this many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"needs {count} descriptors, and {hard} are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Client:
    """A connection that reads whole replies."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=HANG)
        self._read = b""

    def say(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def reply(self) -> str:
        """Give the last line of a reply; "" if the connection has been closed."""
        while True:
            line, found, rest = self._read.partition(b"\r\n")
            if found:
                self._read = rest
                if line[3:4] != b"-":
                    return line.decode("latin-1")
                continue
            more = self._more()
            if not more:
                return ""
            self._read += more

    def ask(self, command: str) -> str:
        self.say(command.encode() + b"\r\n")
        return self.reply()

    def to_data(self) -> None:
        """Send commands up to the 354."""
        said = [self.reply()]
        said += [self.ask(c) for c in ("EHLO c", "MAIL FROM:<s@x>", "RCPT TO:<r@y>", "DATA")]
        assert [reply[:3] for reply in said] == ["220", "250", "250", "250", "354"]

    def to_the_end(self) -> str:
        """Read everything that still arrives."""
        octets = self._read
        while more := self._more():
            octets += more
        return octets.decode("latin-1")

    def reset(self) -> None:
        """Reset the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def _more(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionError:
            return b""


class Crowd:
    """A ``with`` block; at its end all are disconnected."""

    def __init__(self) -> None:
        self.clients: list[Client] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.close()

    def come(self, port: int, count: int) -> list[Client]:
        """Connect this many more, and wait until each has been greeted."""
        new = [Client(port) for _ in range(count)]
        self.clients += new
        for client in new:
            assert client.reply().startswith("220 ")
        return new

    def drip(self, octet: Callable[[Client], bytes], pause: float) -> None:
        """Make each send a little now and then, until the other side has disconnected all."""
        selector = selectors.DefaultSelector()
        for client in self.clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        end = time.monotonic() + HANG
        while selector.get_map():
            assert time.monotonic() < end, f"{len(selector.get_map())} are still connected"
            for key in list(selector.get_map().values()):
                with contextlib.suppress(ConnectionError):
                    key.data.say(octet(key.data))
            listening = time.monotonic() + pause
            while (left := listening - time.monotonic()) > 0 and selector.get_map():
                for key, _ in selector.select(left):
                    if not key.data._more():
                        selector.unregister(key.fileobj)
