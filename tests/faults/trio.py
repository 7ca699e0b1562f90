"""Receiver, a filterd that edits, forwarder, a client and a sink, around one spool."""

import contextlib
import smtplib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.acceptance.relay import HANG, SAMPLE_FILTER, Relay, Service, Sink, until
from tests.acceptance.sink import Arrival
from tests.acceptance.source import Mail
from tests.faults.checker import Client, Doubts, Violation, in_the_end, left

CHAIN = ("--filter", str(SAMPLE_FILTER))
_PATIENCE = 60.0

Environment: TypeAlias = Mapping[str, str] | None


def edited_once(arrival: Arrival) -> bool:
    return arrival.all("X-Relayed") == ["by E-MailRelay"]


@dataclass
class Session:
    """One client session in a thread, and its answers."""

    port: int
    mails: Sequence[Mail]
    accepted: set[str] = field(default_factory=set[str])
    refused: dict[str, int] = field(default_factory=dict[str, int])
    broken: bool = False
    """The connection ended before its time."""
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def client(self) -> Client:
        """Give its answers, after it has ended."""
        self._thread.join(2 * _PATIENCE)
        assert self.done
        return Client(accepted=frozenset(self.accepted), refused=dict(self.refused))

    def _run(self) -> None:
        try:
            with smtplib.SMTP("127.0.0.1", self.port, "client.test", _PATIENCE) as client:
                client.ehlo()
                for mail in self.mails:
                    self._send(client, mail)
        except (OSError, smtplib.SMTPException):
            self.broken = True

    def _send(self, client: smtplib.SMTP, mail: Mail) -> None:
        try:
            client.sendmail("sender@client.test", ["to@sink.test"], mail.content, ["BODY=8BITMIME"])
        except smtplib.SMTPRecipientsRefused as error:
            ((code, _),) = error.recipients.values()
            self.refused[mail.id] = code
        except smtplib.SMTPResponseException as error:
            self.refused[mail.id] = error.smtp_code
        else:
            self.accepted.add(mail.id)


class Trio:
    """The three services on a spool; each is one process."""

    def __init__(
        self, relay: Relay, spool: Path, *, sink: Sequence[str] = (), forwarder: Sequence[str] = ()
    ) -> None:
        """``sink`` and ``forwarder`` are further arguments of these."""
        self.relay, self.spool = relay, spool
        self.sink: Sink = relay.sink(*sink).start()
        self.receiver = relay.receiver(*CHAIN, spool=spool)
        self.filterd = relay.filterd(*CHAIN, spool=spool)
        self.forwarder = relay.forwarder(self.sink.port, *forwarder, spool=spool)
        self._number = self._seen = 0

    @property
    def services(self) -> tuple[Service, Service, Service]:
        return self.receiver, self.filterd, self.forwarder

    def start(self, *services: Service) -> None:
        """Start these services, or all, that do not run, side by side."""
        asleep = [service for service in services or self.services if not service.running]
        for service in asleep:
            service.spawn()
        for service in asleep:
            service.hear("started", pid=service.pid)

    def kill(self) -> None:
        """End all at once, as a power cut does."""
        for service in self.services:
            service.clear_away()

    def warm_up(self) -> None:
        """Let one message pass, so that all threads and connections exist."""
        self.pass_on(self.send(1))

    def send(self, count: int, size: int = 2000) -> Session:
        """Begin to send new messages over one session."""
        mails = [Mail(self._number + number, size) for number in range(1, count + 1)]
        self._number += count
        return Session(self.receiver.port, mails)

    def pass_on(self, session: Session) -> None:
        """Wait until accepted mail has passed through, and all services have logged that."""
        client = session.client()
        assert client.accepted, "nothing was accepted"
        until(lambda: self.passed(session), "the message passes through")

    def passed(self, session: Session) -> bool:
        """Return whether all mail of a session is accepted, delivered and settled everywhere."""
        if not session.done or len(session.accepted) < len(session.mails):
            return False
        arrived = {arrival.id: arrival.queue_id for arrival in self.sink.arrivals()}
        ids = [arrived.get(id_) for id_ in session.accepted]
        return all(
            id_ is not None
            and self.filterd.events("passed", id=id_)
            and self.forwarder.events("delivered", id=id_)
            for id_ in ids
        )

    def verdict(
        self, client: Client, most: int, *, noted: bool, patience: float = HANG
    ) -> list[Violation]:
        """Wait for the spool to be empty and check all that has happened since the last verdict.

        ``most`` duplicates are excused, if they are named where that can be: ``noted``.
        """
        with contextlib.suppress(AssertionError):
            until(lambda: not left(self.spool), "the spool is empty", patience)
        arrivals = self.sink.arrivals()
        new = arrivals[self._seen :]
        self._seen = len(arrivals)
        named = self.relay.possible_duplicates() if noted else None
        return in_the_end(self.spool, client, new, Doubts(most, named), edits=edited_once)
