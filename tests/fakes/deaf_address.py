"""An address that drops packets: a client that connects gets neither an answer nor a refusal."""

import socket
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class DeafAddress:
    """A ``with`` block: Linux drops SYNs for a listening socket whose queue is full (listen(2))."""

    host: str = "127.0.0.1"
    port: int = field(init=False, default=0)
    _listening: socket.socket = field(init=False)
    _filling: list[socket.socket] = field(init=False, default_factory=list[socket.socket])

    def __enter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listening = socket.socket(family, socket.SOCK_STREAM)
        self._listening.bind((self.host, 0))
        self._listening.listen(0)
        self._listening.settimeout(0)
        self.port = self._listening.getsockname()[1]
        for _ in range(3):  # the queue has room for one
            filling = socket.socket(family, socket.SOCK_STREAM)
            filling.settimeout(0)
            filling.connect_ex((self.host, self.port))
            self._filling.append(filling)
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listening, *self._filling):
            sock.close()

    def hear(self) -> None:
        """Answer from now on: connections that have waited are refused."""
        for filling in self._filling:
            filling.close()
        self.accepted()

    def accepted(self) -> int:
        """Accept the connections that have come since; return their number."""
        number = 0
        while True:
            try:
                self._listening.accept()[0].close()
            except BlockingIOError:
                return number
            number += 1
