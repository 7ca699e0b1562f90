"""A client that sends mixed messages over many sessions at once and remembers which got 250."""

import hashlib
import random
import re
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from tests.acceptance.relay import until
from tests.acceptance.sink import Arrival

SESSIONS = 20
_MESSAGES_A_CONNECTION = 25
_SAFE = bytes(octet if octet not in b"\0\r\n" else 0xE9 for octet in range(256))
_ASCII = bytes(0x20 + octet % 95 for octet in range(256))
_PATIENCE = 60.0


@dataclass(frozen=True)
class Mail:
    """A message that its number alone determines."""

    number: int
    size: int | None = None
    """Octets of the body; None: mixed sizes, from none to a MiB."""

    @property
    def id(self) -> str:
        return f"mail-{self.number}"

    @cached_property
    def body(self) -> bytes:
        """The body as it is sent, hence with the line end that SMTP demands."""
        chance = random.Random(self.number)  # noqa: S311 -- the same at every run
        size = _size(chance, self.number) if self.size is None else self.size
        body = _lines(chance, self.number % 6, size)
        # A lone CR at the end would be refused.
        return body.removesuffix(b"\r").removesuffix(b"\r\n") + b"\r\n" if body else body

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @property
    def content(self) -> bytes:
        """Give header and body; every second body ends without a line end where that can be."""
        head = f"Subject: {self.id}\r\nX-Test-Id: {self.id}\r\nX-Test-Sha256: {self.sha256}\r\n\r\n"
        whole = head.encode() + self.body
        return whole.removesuffix(b"\r\n") if self.body and self.number % 2 else whole


def _size(chance: random.Random, number: int) -> int:
    if number % 10 == 0:
        return 0
    if number % 200 == 1:
        return 1024 * 1024
    if number % 40 == 3:
        return chance.randrange(65_000, 300_000)
    return chance.randrange(1, 16_000)


def _lines(chance: random.Random, kind: int, size: int) -> bytes:
    """Make text of about this size: plain, dots, 8-bit, long lines, empty lines, one line."""
    octets = chance.randbytes(size)
    match kind:
        case 0:
            return re.sub(rb"(.{70})", rb"\1\r\n", octets.translate(_ASCII))
        case 1:
            return re.sub(rb"(.{9})", rb"\1\r\n..\r\n.\r\n.x", octets.translate(_ASCII))[:size]
        case 2:
            return re.sub(rb"(?s)(.{70})", rb"\1\r\n", octets.translate(_SAFE))
        case 3:
            return re.sub(rb"(?s)(.{998})", rb"\1\r\n", octets.translate(_SAFE))
        case 4:
            return b"\r\n" * (size // 2)
        case _:
            return octets.translate(_ASCII)


@dataclass
class Load:
    """So many messages over ``sessions`` at once; a refused one is given up, another takes its place."""

    port: int
    count: int
    sessions: int = SESSIONS
    first: int = 0
    size: int | None = None
    recipients: Callable[[Mail], list[str]] = lambda _: ["to@sink.test"]
    acknowledged: dict[str, Mail] = field(default_factory=dict[str, Mail])
    refused: Counter[int] = field(default_factory=Counter[int])
    """The number of answers with each SMTP code; 0 for a broken connection."""
    codes: dict[str, int] = field(default_factory=dict[str, int])
    """The code that each refused message was answered with at its end."""
    _next: int = 0
    _under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])
    _errors: list[BaseException] = field(default_factory=list[BaseException])

    def start(self) -> None:
        self._next = self.first
        self._threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(self.sessions)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, count: int) -> None:
        """Wait until so many are acknowledged."""
        until(lambda: self._errors or len(self.acknowledged) >= count, f"{count} acknowledged")

    def finish(self) -> None:
        """Wait until all are acknowledged."""
        for thread in self._threads:
            thread.join(10 * _PATIENCE)
            assert not thread.is_alive()
        assert not self._errors, self._errors

    def run(self) -> dict[str, Mail]:
        self.start()
        self.finish()
        return self.acknowledged

    def _work(self) -> None:
        try:
            while self._more():
                self._session()
        except BaseException as error:
            self._errors.append(error)
            raise

    def _more(self) -> bool:
        return len(self.acknowledged) + self._under_way < self.count

    def _take(self) -> Mail | None:
        with self._lock:
            if not self._more():
                return None
            self._next += 1
            self._under_way += 1
            return Mail(self._next, self.size)

    def _session(self) -> None:
        try:
            with smtplib.SMTP("127.0.0.1", self.port, "client.test", _PATIENCE) as client:
                client.ehlo()
                for _ in range(_MESSAGES_A_CONNECTION):
                    mail = self._take()
                    if mail is None:
                        return
                    self._send(client, mail)
        except (OSError, smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError):
            self.refused[0] += 1
            time.sleep(0.05)  # the service is being restarted

    def _send(self, client: smtplib.SMTP, mail: Mail) -> None:
        accepted = False
        try:
            client.sendmail(
                "sender@client.test", self.recipients(mail), mail.content, ["BODY=8BITMIME"]
            )
            accepted = True
        except smtplib.SMTPResponseException as error:
            self.refused[error.smtp_code] += 1
            self.codes[mail.id] = error.smtp_code
            raise OSError from error
        finally:
            with self._lock:
                self._under_way -= 1
                if accepted:
                    self.acknowledged[mail.id] = mail


def repeated(arrivals: list[Arrival]) -> list[Arrival]:
    """Give the arrivals of messages that had arrived before."""
    first: dict[str, Arrival] = {}
    return [arrival for arrival in arrivals if first.setdefault(arrival.id, arrival) is not arrival]


def assert_all_arrived(
    acknowledged: dict[str, Mail],
    arrivals: list[Arrival],
    *,
    edits: Callable[[Arrival], bool] = lambda _: True,
) -> None:
    """Nothing lost, nothing changed but as ``edits`` says; duplicates are the caller's to judge."""
    arrived = {arrival.id for arrival in arrivals}
    lost = sorted(acknowledged.keys() - arrived)
    assert not lost, f"{len(lost)} of {len(acknowledged)} lost: {lost[:10]}"
    for arrival in arrivals:
        (sha256,) = arrival.all("X-Test-Sha256")
        assert arrival.sha256 == sha256, f"{arrival.id} was changed ({arrival.size} octets)"
        assert edits(arrival), f"{arrival.id} was edited: {arrival.headers}"


def assert_each_arrived_once(
    acknowledged: dict[str, Mail],
    arrivals: list[Arrival],
    *,
    edits: Callable[[Arrival], bool] = lambda _: True,
) -> None:
    """Check the whole promise, without a kill."""
    assert_all_arrived(acknowledged, arrivals, edits=edits)
    twice = [arrival.id for arrival in repeated(arrivals)]
    assert not twice, f"arrived twice: {twice}"
    assert {arrival.id for arrival in arrivals} == acknowledged.keys()
