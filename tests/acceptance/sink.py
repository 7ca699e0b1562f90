"""An SMTP server in a process of its own that records every message it answers 250 to.

It refuses recipients whose names begin with "refused" for ever, and those with "later" the first
time.
"""

import argparse
import asyncio
import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from typing import TypeAlias

LARGEST = 128 * 1024 * 1024
_QUEUE_ID = re.compile(rb"^Received:[^\r]*\r\n\tby [^\r]* id ([0-9.]+);", re.MULTILINE)

Headers: TypeAlias = list[list[str]]
"""Names and values; JSON gives lists."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that was answered 250; ``connection`` numbers the connections of one process."""

    sender: str
    recipients: list[str]
    headers: Headers
    size: int
    sha256: str
    """Of the body alone, dot-unstuffed."""
    queue_id: str
    """The relay's own, of its last Received line."""
    connection: str

    def all(self, name: str) -> list[str]:
        """Give the values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def id(self) -> str:
        """Give the id that the test gave to the message."""
        (value,) = self.all("X-Test-Id")
        return value


def record_of(sender: str, recipients: list[str], content: bytes, connection: str) -> Arrival:
    """Take a message apart; ``content`` is unstuffed and without the final dot."""
    head, _, body = content.partition(b"\r\n\r\n")
    lines = re.sub(rb"\r\n[ \t]+", b" ", head).split(b"\r\n")
    pairs = [line.decode("latin-1").partition(":") for line in lines]
    queue_id = _QUEUE_ID.search(head)
    return Arrival(
        sender=sender,
        recipients=recipients,
        headers=[[key, value.strip()] for key, _, value in pairs],
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        queue_id=queue_id[1].decode() if queue_id else "",
        connection=connection,
    )


class Server:
    """``refuse``: the reply to every RCPT, not 250; ``pause``: seconds before each final 250."""

    def __init__(self, record: int, *, refuse: str, pause: float) -> None:
        self._record, self._refuse, self._pause = record, refuse, pause
        self._connections = 0
        self._put_off: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        connection = f"{os.getpid()}.{self._connections}"
        try:
            writer.write(b"220 sink.test ESMTP\r\n")
            await self._session(reader, writer, connection)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # clients are killed here
        finally:
            writer.close()

    async def _session(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: str
    ) -> None:
        sender, recipients = "", list[str]()
        while True:
            line = (await reader.readuntil(b"\r\n")).decode("latin-1").strip()
            match line.split(" ")[0].split(":")[0].upper():
                case "EHLO":
                    writer.write(b"250-sink.test\r\n250-8BITMIME\r\n250 SIZE 134217728\r\n")
                case "MAIL":
                    sender, recipients = _address(line), []
                    writer.write(b"250 2.1.0 ok\r\n")
                case "RCPT":
                    refusal = self._refusal(_address(line))
                    if not refusal:
                        recipients.append(_address(line))
                    writer.write(f"{refusal or '250 2.1.5 ok'}\r\n".encode())
                case "DATA" if recipients:
                    writer.write(b"354 go on\r\n")
                    content = await _content(reader)
                    await asyncio.sleep(self._pause)
                    self._note(record_of(sender, recipients, content, connection))
                    writer.write(b"250 2.0.0 recorded\r\n")
                case "RSET" | "NOOP":
                    writer.write(b"250 2.0.0 ok\r\n")
                case "QUIT":
                    writer.write(b"221 2.0.0 bye\r\n")
                    return
                case _:
                    writer.write(b"503 5.5.1 not now\r\n")

    def _refusal(self, recipient: str) -> str:
        if recipient.startswith("refused"):
            return "550 5.1.1 nobody of that name"
        if recipient.startswith("later") and recipient not in self._put_off:
            self._put_off.add(recipient)
            return "451 4.2.1 come again"
        return self._refuse

    def _note(self, arrival: Arrival) -> None:
        os.write(self._record, json.dumps(asdict(arrival)).encode() + b"\n")


async def _content(reader: asyncio.StreamReader) -> bytes:
    """Read up to the final dot and undo the dot-stuffing (RFC 5321 section 4.5.2)."""
    octets = bytearray(b"\r\n")
    while not octets.endswith(b"\r\n.\r\n"):
        octets += await reader.readuntil(b".\r\n")
    return bytes(octets[2:-3]).replace(b"\r\n.", b"\r\n")


def _address(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--refuse", default="")
    parser.add_argument("--pause", type=float, default=0.0)
    options = parser.parse_args()
    record = os.open(options.record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server = Server(record, refuse=options.refuse, pause=options.pause)
    listening = await asyncio.start_server(
        server.serve, "127.0.0.1", options.port, limit=LARGEST, backlog=512
    )
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
