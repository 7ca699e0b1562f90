"""Next servers: smtp-sink, of Debian's postfix package."""

import contextlib
import random
import socket
import subprocess
import time
from collections.abc import Generator

_SINK = "/usr/sbin/smtp-sink"
_PATIENCE = 30.0
_BACKLOG = "1000"
_AT_ONCE = "1000"


def free_port() -> int:
    """Give a free port outside the range of the ports that clients get."""
    while True:
        port = random.randrange(10_240, 32_000)  # noqa: S311 -- no secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def greeted(port: int, patience: float = _PATIENCE) -> None:
    """Wait until a server on the port sends its greeting, at most so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                if client.recv(64).startswith(b"220"):
                    client.sendall(b"QUIT\r\n")
                    client.recv(64)
                    return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.005)  # a sink prints nothing when it listens


class Sink:
    """A running smtp-sink that accepts all mail; if a number is given, it ends after so many."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = process

    def wait(self, seconds: float) -> None:
        """Wait until the last of the messages has arrived."""
        self._process.wait(seconds)


@contextlib.contextmanager
def sink(*, messages: int = 0, port: int = 0) -> Generator[Sink]:
    """Run smtp-sink."""
    port = port or free_port()
    ends = ["-M", str(messages)] if messages else []
    command = [_SINK, "-u", "nobody", "-m", _AT_ONCE, *ends, f"127.0.0.1:{port}", _BACKLOG]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        greeted(port)
        yield Sink(port, process)
    finally:
        process.kill()
        process.wait()
