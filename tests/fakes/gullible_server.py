"""An SMTP server that takes anything like a dot on a line for the end of the content.

It combines the faults of all known servers that could be made to read one message as two: lines end
with CR, LF or both, and NULs are ignored.
"""

import re
import socket
import socketserver
import threading
from dataclasses import dataclass, field
from typing import Self

_END = re.compile(rb"(?:^|\r\n|[\r\n])\0*\.\0*[\r\n]+\0*")


@dataclass(frozen=True, slots=True)
class Taken:
    """A message as this server read it."""

    sender: bytes
    content: bytes


@dataclass
class GullibleServer:
    """A ``with`` block: inside it the server listens on ``port``."""

    taken: list[Taken] = field(default_factory=list[Taken])
    port: int = 0
    _server: socketserver.ThreadingTCPServer | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        taken = self.taken

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                _Session(self.request, taken).run()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Gone(Exception):
    """The client has closed the connection."""


class _Session:
    def __init__(self, connection: socket.socket, taken: list[Taken]) -> None:
        self._connection = connection
        self._taken = taken
        self._read = b""
        self._sender = b""

    def run(self) -> None:
        try:
            self._say(b"220 gullible.test ESMTP")
            while self._command(self._line()):
                pass
        except (_Gone, OSError):
            return

    def _command(self, line: bytes) -> bool:
        match line[:4].upper():
            case b"EHLO":
                self._say(b"250-gullible.test\r\n250 8BITMIME")
            case b"MAIL":
                self._sender = line.partition(b"<")[2].partition(b">")[0]
                self._say(b"250 2.1.0 ok")
            case b"DATA":
                self._say(b"354 go on")
                self._taken.append(Taken(self._sender, self._content()))
                self._say(b"250 2.0.0 taken")
            case b"QUIT":
                self._say(b"221 2.0.0 bye")
                return False
            case _:
                self._say(b"250 2.0.0 whatever")
        return True

    def _content(self) -> bytes:
        while (end := _END.search(self._read)) is None:
            self._more()
        content, self._read = self._read[: end.start()], self._read[end.end() :]
        return content

    def _line(self) -> bytes:
        while b"\n" not in self._read:
            self._more()
        line, _, self._read = self._read.partition(b"\n")
        return line.strip()

    def _more(self) -> None:
        more = self._connection.recv(65536)
        if not more:
            raise _Gone
        self._read += more

    def _say(self, line: bytes) -> None:
        self._connection.sendall(line + b"\r\n")
